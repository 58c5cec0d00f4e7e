from dataclasses import replace

from tests import trainees
from trainer.splits import Split, split, taught_by


def sides(examples) -> Split:
    return split(examples, champion="tiny", tune_share=0.25, gate_share=0.25)


def log(decisions=400):
    model = trainees.reranker()
    return trainees.log(model, reward=lambda _: 1.0, decisions=decisions)


def test_a_query_is_always_on_the_same_side():
    examples = log()

    first, second = sides(examples), sides(reversed(examples))

    assert set(map(id, first.gate)) == set(map(id, second.gate))
    queries = [
        {each.query_sha256 for each in side} for side in (first.train, first.tune, first.gate)
    ]
    assert not queries[0] & queries[1] | queries[0] & queries[2] | queries[1] & queries[2]
    # 400 coins of .25: 100, give or take 9.
    assert 60 < len(first.gate) < 140


def test_what_judges_is_new_and_was_decided_by_the_champion():
    examples = log()
    replayed = [replace(each, fresh=False) for each in examples]
    of_another = [
        replace(each, decision=replace(each.decision, version="before")) for each in examples
    ]

    for others in (replayed, of_another):
        found = sides(others)
        assert found.tune == found.gate == ()
        assert len(found.train) == len(examples)


def test_what_judged_in_earlier_rounds_trains_unless_its_query_judges_again():
    examples = log()
    judging = {id(each) for side in (sides(examples).tune, sides(examples).gate) for each in side}
    judged = [replace(each, fresh=False) for each in examples if id(each) in judging]
    again = [replace(each, fresh=True) for each in judged[::2]]

    found = sides([*judged, *again])

    queries = {each.query_sha256 for each in again}
    assert set(map(id, (*found.tune, *found.gate))) == set(map(id, again))
    trains = [each for each in judged if each.query_sha256 not in queries]
    assert 0 < len(trains) < len(judged)
    assert set(map(id, found.train)) == set(map(id, trains))


def test_a_rung_learns_from_all_that_is_fresh_and_from_the_newest_of_the_rest():
    rows = [replace(each, fresh=at in {3, 4}) for at, each in enumerate(log(5))]

    def places(replay):
        return [rows.index(each) for each in taught_by(rows, replay=replay)]

    assert places(0) == [3, 4]
    assert places(2) == [3, 4]
    assert places(4) == [1, 2, 3, 4]
    assert places(100) == [0, 1, 2, 3, 4]
