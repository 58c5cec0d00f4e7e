import pytest

from judge.verdict import NoVerdict, Verdict


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 0.7}', 0.7),
        ('{"score": 1}', 1.0),
        ('{"score": "0.25"}', 0.25),
        ('```json\n{"rationale": "fine", "score": 0.5}\n```', 0.5),
        ('Let me think. {"score": 0.1} was too harsh.\n{"score": 0.9}', 0.9),
        ('<think>{"a": 1}</think> Sure! {"score": 0.4} Hope this helps {.', 0.4),
        ('{"score": 0.3} {"note": "no score here"}', 0.3),
        ('{"score": 0.3} {"score": 7}', 0.3),
        ('{ not json {"score": 0.2}', 0.2),
    ],
)
def test_the_last_usable_score_counts_whatever_is_around_it(reply: str, score: float):
    assert Verdict.of_reply(reply).score == score


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "The answer is good.",
        "0.7",
        '{"score": 1.2}',
        '{"score": -0.1}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": 1e999}',
        '{"score": true}',
        '{"score": null}',
        '{"score": "high"}',
        '{"score": [0.5]}',
        '["score", 0.5]',
        "{" * 100_000,
    ],
)
def test_without_a_score_between_0_and_1_there_is_no_verdict(reply: str):
    with pytest.raises(NoVerdict):
        Verdict.of_reply(reply)


def test_the_rationale_is_kept_as_far_as_it_can_be_stored():
    verdict = Verdict.of_reply('{"score": 1, "rationale": "a\\u0000b\\ud800c' + "x" * 5000 + '"}')

    assert verdict.rationale == "abc" + "x" * 1997


def test_a_rationale_that_is_no_text_is_left_out():
    assert Verdict.of_reply('{"score": 1, "rationale": {}}').rationale is None
