from judge.retries import Backoff


def test_waits_double_up_to_the_longest():
    backoff = Backoff(first_s=1, longest_s=4)

    ceilings = [max(backoff.wait_s(attempt) for _ in range(300)) for attempt in range(5)]

    for ceiling, expected in zip(ceilings, [1, 2, 4, 4, 4], strict=True):
        assert 0.9 * expected < ceiling <= expected
