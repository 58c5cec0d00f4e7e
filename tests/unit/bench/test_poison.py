import numpy as np

from bench.learning.cells import Cell, Done
from bench.learning.loop import Played, Serving
from bench.learning.poison import SOURCES, costs, liars


def done(arm, seed, *values, rounds=()):
    """Two questions at the start, then as promoted at 750."""
    served = [
        Serving(version=str(since), since=since, round=0, values=np.array(each))
        for since, each in zip((0, 750), values, strict=False)
    ]
    cell = Cell(world="handbook", arm=arm, seed=seed, events=1_000)
    return Done(cell=cell, played=Played(served=served, rounds=list(rounds)))


def row(found, events):
    (only,) = [each for each in found if each["events"] == events]
    return only


def test_a_larger_share_of_liars_has_those_of_a_smaller_one():
    few, some, many = (liars(share, seed=3) for share in (0.05, 0.1, 0.2))

    assert few < some < many
    assert (len(few), len(some), len(many)) == (2, 4, 8)
    assert len(liars(1.0, seed=3)) == SOURCES
    assert liars(0.0, seed=3) == frozenset()
    assert liars(0.2, seed=4) != many


def test_a_cost_is_paired_by_question_and_seed():
    runs = [
        done("clean", 1, [0.0, 0.0], [1.0, 0.0]),
        done("clean", 2, [0.0, 0.0], [1.0, 1.0]),
        done("defended-0.1", 1, [0.0, 0.0], [1.0, 0.0]),
        done("defended-0.1", 2, [0.0, 0.0], [0.0, 1.0]),
    ]

    found = list(costs(runs, clusters=[0, 1], events=1_000))

    assert [each["events"] for each in found] == [500, 1_000]
    assert row(found, 500)["cost"] == 0.0
    last = row(found, 1_000)
    # Of four pairs one is lost: the clean runs are worth (.5 + 1) / 2, the defended ones (.5 + .5) / 2.
    assert (last["clean"], last["value"], last["cost"]) == (0.75, 0.5, 0.25)
    assert last["low"] < 0.25 < last["high"]
    assert (last["share"], last["allowed"], last["seeds"]) == (0.1, 0.02, 2)


def test_one_seed_has_no_interval():
    runs = [done("clean", 1, [0.0], [1.0]), done("undefended-0.2", 1, [0.0], [0.5])]

    last = row(costs(runs, clusters=[0], events=1_000), 1_000)

    assert (last["cost"], last["low"], last["high"]) == (0.5, None, None)


def test_a_seed_without_its_clean_run_does_not_count():
    runs = [done("clean", 1, [0.0], [1.0])]
    runs += [done("defended-0.2", seed, [0.0], [1.0]) for seed in (1, 2)]

    assert row(costs(runs, clusters=[0], events=1_000), 1_000)["seeds"] == 1


def test_liars_are_counted_in_the_last_round_and_the_wrongly_accused_in_all():
    rounds = [
        {"events": 400, "caught": 1, "accused": 1},
        {"events": 900, "caught": 2, "accused": 0},
    ]
    runs = [done("clean", 1, [0.0]), done("defended-0.1", 1, [0.0], rounds=rounds)]

    found = list(costs(runs, clusters=[0], events=1_000))

    early, late = row(found, 500), row(found, 1_000)
    assert (early["rounds"], early["caught"], early["accused"]) == (1, 1, 1)
    assert (late["rounds"], late["caught"], late["accused"]) == (2, 2, 1)
