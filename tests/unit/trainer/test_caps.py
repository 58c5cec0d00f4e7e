from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from contract.records import Source
from tests import trainees
from trainer.caps import Shares, capped, level, within
from trainer.examples import Origin, Skipped
from trainer.splits import Split

RNG = np.random.default_rng(0)


def example(name="a", *, type=Source.END_USER, tenant="default", fresh=True):  # noqa: A002 -- as the wire calls it
    made = trainees.example(
        query="why", documents=["a", "b"], scores=np.zeros(2), reward=lambda _: 1.0, rng=RNG
    )
    return replace(
        made,
        decision=replace(made.decision, tenant=tenant),
        origins=frozenset([Origin(tenant, type, name)]),
        fresh=fresh,
    )


def of_sources(**numbers):
    return [example(name) for name, number in numbers.items() for _ in range(number)]


def crowd(number, each=1):
    return of_sources(**{f"user-{at}": each for at in range(number)})


def by_source(examples):
    return Counter(next(iter(each.origins)).id for each in examples)


def left(examples, *, source_share=0.1, tenant_share=1.0):
    return capped(examples, Shares(source=source_share, tenant=tenant_share))


def test_a_source_holds_at_most_its_share_of_what_is_left():
    kept, skipped = left([*of_sources(flood=500), *crowd(36)])

    # x <= .1 (x + 36): x <= 4.
    assert by_source(kept)["flood"] == 4
    assert len(kept) == 40
    assert skipped == {Skipped.OVER_SOURCE_SHARE: 496}


def test_two_floods_together_hold_two_shares():
    kept, _ = left([*of_sources(flood=500, deluge=300), *crowd(40)])

    # x <= .1 (2 x + 40): x <= 5.
    assert (by_source(kept)["flood"], by_source(kept)["deluge"]) == (5, 5)


def test_few_sources_are_not_bounded_as_somebody_must_hold_most():
    # A share of .1 leaves room for 10, and twice as many are many.
    assert left([*of_sources(judge=500), *crowd(18)])[1] == {}
    assert left([*of_sources(judge=500), *crowd(19)])[1].total() > 0


def test_one_source_is_as_it_was():
    examples = of_sources(only=50)

    assert left(examples, tenant_share=0.5) == (examples, {})


def test_a_crowd_of_users_takes_nothing_from_the_only_judge():
    judged = [example("judge", type=Source.LLM_JUDGE) for _ in range(500)]

    assert left([*judged, *crowd(40)])[1] == {}


def test_nobody_below_the_share_loses_anything():
    examples = crowd(40, each=5)

    assert left(examples) == (examples, {})


def test_what_is_left_out_is_the_same_in_whatever_order_it_comes():
    examples = [*of_sources(flood=100), *crowd(36)]

    one, other = left(examples)[0], left(examples[::-1])[0]

    assert {id(each) for each in one} == {id(each) for each in other}
    assert one == [each for each in examples if id(each) in set(map(id, one))]


def test_a_tenant_holds_at_most_its_share_once_there_are_several():
    acme = [example(f"a{at}", tenant="acme") for at in range(100)]
    others = [example(f"b{at}", tenant=f"tenant-{at % 3}") for at in range(30)]

    kept, skipped = left([*acme, *others], source_share=1.0, tenant_share=0.5)

    # x <= .5 (x + 30): x <= 30. Two tenants, or three, are not bounded.
    assert sum(each.decision.tenant == "acme" for each in kept) == 30
    assert skipped == {Skipped.OVER_TENANT_SHARE: 70}
    two = [each for each in [*acme, *others] if each.decision.tenant in {"acme", "tenant-0"}]
    assert left(two, source_share=1.0, tenant_share=0.5)[1] == {}


def test_a_reward_of_two_sources_counts_for_both():
    flood = Origin("default", Source.END_USER, "flood")
    both = [replace(each, origins=each.origins | {flood}) for each in crowd(36, each=3)]

    kept, _ = left([*both, *of_sources(flood=50), *crowd(40)])

    held = sum(flood in each.origins for each in kept)
    assert held <= 0.1 * len(kept)


def test_where_rewards_belong_to_several_a_share_is_one_of_rewards():
    # 20 holders of 10 each, but of 100 rewards: 10 is the tenth that each may hold. Of 50 rewards it is not.
    assert level([10] * 20, share=0.1, examples=100) == 10
    assert level([10] * 20, share=0.1, examples=50) < 10


@pytest.mark.parametrize("held", [[1], [5, 5], [7, 1, 1, 1, 1], [90, 80, 3, 2, 2, 1, 1, 1]])
def test_the_level_is_the_highest_at_which_nobody_holds_more_than_the_share(held):
    share = 0.5
    found = level(held, share=share, examples=sum(held))

    def largest(kept):
        return kept / sum(min(kept, each) for each in held)

    if len(held) < 2 / share:
        assert found == max(held)
    else:
        assert largest(found) <= share
        assert found == max(held) or largest(found + 1) > share


def test_each_side_of_a_round_is_within_the_shares():
    flood = of_sources(flood=60)
    sides = Split(
        train=(*flood[:20], *crowd(36)),
        tune=(*flood[20:40], *crowd(27)),
        gate=(*flood[40:], *crowd(18)),
    )

    capped_sides, skipped = within(sides, Shares(source=0.1, tenant=0.5))

    held = [by_source(side)["flood"] for side in (capped_sides.train, capped_sides.tune)]
    # x <= .1 (x + 36): 4.  x <= .1 (x + 27): 3.
    assert held == [4, 3]
    # 18 others and the flood are no 20 sources: it is not bounded.
    assert by_source(capped_sides.gate)["flood"] == 20
    assert skipped == {Skipped.OVER_SOURCE_SHARE: 16 + 17}
    assert capped_sides.train == tuple(each for each in sides.train if each in capped_sides.train)
