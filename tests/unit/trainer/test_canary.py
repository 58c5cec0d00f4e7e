"""The rule of a canary on made-up counts: half of the units at 1 and so on, so that every mean is on the page."""

from dataclasses import replace

import pytest

from trainer.canary import Arm, Limits, Seen, Stage, Step, decide
from trainer.sequences import Moments

LIMITS = Limits()


def share_of(units, value):
    """So many units, of which a share of `value` is 1 and the rest 0."""
    ones = round(units * value)
    return Moments.of([1.0] * ones + [0.0] * (units - ones))


def arm(units, reward, *, coverage=0.5, errors=0.0, slow=0.01, not_finite=0):
    return Arm(
        reward=share_of(units, reward),
        coverage=share_of(2 * units, coverage),
        errors=share_of(2 * units, errors),
        slow=share_of(2 * units, slow),
        not_finite=not_finite,
    )


def seen(canary, champion, *, share=0.5, passed_gate=False, **rest):
    stage = Stage(share=share, canary=canary, champion=champion)
    return Seen(stages=(stage,), passed_gate=passed_gate, **rest)


def test_no_data_means_hold():
    verdict = decide(seen(arm(0, 0.0), arm(0, 0.0)), LIMITS)

    assert verdict.step is Step.HOLD
    assert verdict.reason == "0 judged units in one arm, 50 are needed"


def test_a_good_share_of_few_units_means_hold():
    assert decide(seen(arm(49, 1.0), arm(49, 0.0)), LIMITS).step is Step.HOLD
    assert decide(seen(arm(50, 1.0), arm(50, 0.0)), LIMITS).step is Step.PROMOTE


def test_a_canary_that_is_surely_worse_is_rolled_back():
    verdict = decide(seen(arm(300, 0.5), arm(2700, 0.7), share=0.1), LIMITS)

    assert verdict.step is Step.ROLL_BACK
    assert verdict.value == pytest.approx(0.5 - 0.7)
    assert verdict.high < 0


def test_a_canary_that_is_surely_better_is_promoted_at_any_share():
    verdict = decide(seen(arm(300, 0.85), arm(2700, 0.7), share=0.1), LIMITS)

    assert (verdict.step, verdict.margin) == (Step.PROMOTE, -verdict.low)
    assert verdict.low > 0


def test_a_canary_that_is_surely_not_much_worse_gets_the_larger_share():
    few, many = (
        decide(seen(arm(units, 0.7), arm(9 * units, 0.7), share=0.1), LIMITS)
        for units in (100, 400)
    )

    assert (few.step, few.low < -LIMITS.max_loss) == (Step.HOLD, True)
    assert (many.step, many.low > -LIMITS.max_loss) == (Step.ADVANCE, True)


def equal(**rest):
    """Two arms alike, seen well enough to know it to 1 %."""
    return seen(arm(40_000, 0.7), arm(40_000, 0.7), **rest)


def test_a_model_that_passed_the_gate_is_promoted_when_it_is_not_worse():
    verdict = decide(equal(passed_gate=True), LIMITS)

    assert -LIMITS.margin < verdict.low < 0
    assert (verdict.step, verdict.margin) == (Step.PROMOTE, -verdict.low)


def test_a_model_that_did_not_pass_the_gate_must_be_better():
    assert decide(equal(passed_gate=False), LIMITS).step is Step.HOLD


def test_what_margins_may_lose_is_bounded_in_sum():
    margin = decide(equal(passed_gate=True), LIMITS).margin
    left, spent = (
        equal(passed_gate=True, margins_granted=0.06 - margin + more) for more in (-0.001, 0.001)
    )

    assert decide(left, LIMITS).step is Step.PROMOTE
    assert decide(spent, LIMITS).step is Step.HOLD


def test_no_margin_is_granted_to_a_line_that_is_below_its_base():
    below = equal(passed_gate=True, below_base=True)
    better = seen(arm(300, 0.85), arm(2700, 0.7), share=0.1, below_base=True)

    assert decide(below, LIMITS).step is Step.HOLD
    # What is better needs no margin.
    assert decide(better, LIMITS).step is Step.PROMOTE


def test_no_margin_is_granted_at_the_small_share():
    alike = seen(arm(40_000, 0.7), arm(360_000, 0.7), share=0.1, passed_gate=True)

    assert decide(alike, LIMITS).step is Step.ADVANCE


def test_undecided_at_the_end_keeps_the_champion():
    verdict = decide(equal(over=True), LIMITS)

    assert verdict.step is Step.KEEP_CHAMPION
    assert verdict.reason.startswith("its time is up: ")


def test_a_small_share_that_could_grow_keeps_the_champion_at_the_end():
    ended = seen(arm(400, 0.7), arm(3600, 0.7), share=0.1, over=True)

    assert decide(ended, LIMITS).step is Step.KEEP_CHAMPION


def test_a_verdict_at_the_very_end_stands():
    better = seen(arm(300, 0.85), arm(2700, 0.7), share=0.1, over=True)

    assert decide(better, LIMITS).step is Step.PROMOTE


def test_another_share_of_units_than_was_given_means_hold():
    verdict = decide(seen(arm(300, 0.9), arm(1700, 0.5), share=0.1), LIMITS)

    assert verdict.step is Step.HOLD
    assert verdict.reason == "the canary's share of units is off by +5.00%"


def test_who_is_held_back_is_in_neither_arm():
    # A tenth of all is an eighth of the four fifths that both answer.
    stage = Stage(share=0.1, canary=arm(250, 0.9), champion=arm(1750, 0.5), hold_back=0.2)

    held_back, nobody = (
        decide(Seen(stages=(each,), passed_gate=False), LIMITS)
        for each in (stage, replace(stage, hold_back=0.0))
    )

    assert stage.of_both == pytest.approx(0.125)
    assert held_back.step is Step.PROMOTE
    assert nobody.reason == "the canary's share of units is off by +2.50%"


def test_arms_that_are_judged_unequally_often_mean_hold():
    canary = replace(arm(1000, 0.9), coverage=share_of(2000, 0.7))
    champion = replace(arm(1000, 0.5), coverage=share_of(2000, 0.5))

    verdict = decide(seen(canary, champion), LIMITS)

    assert verdict.step is Step.HOLD
    assert verdict.reason == "the arms are judged unequally often, by +20.00%"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"not_finite": 1}, "a score was not finite"),
        ({"errors": 0.1}, "+10.00% of its requests fail"),
        ({"slow": 0.11}, "+10.00% of its requests are slower than the champion's p99"),
    ],
)
def test_a_guardrail_rolls_back_whatever_the_rewards_say(bad, reason):
    verdict = decide(seen(arm(1000, 0.9, **bad), arm(1000, 0.5)), LIMITS)

    assert (verdict.step, verdict.reason) == (Step.ROLL_BACK, reason)


def test_a_guardrail_needs_no_rewards():
    failing = replace(arm(1000, 0.0, errors=0.2), reward=Moments.of([]))
    working = replace(arm(1000, 0.0), reward=Moments.of([]))

    assert decide(seen(failing, working), LIMITS).step is Step.ROLL_BACK


def test_a_few_more_slow_requests_are_no_reason():
    slightly = seen(arm(1000, 0.7, slow=0.015), arm(1000, 0.7, slow=0.01))

    assert decide(slightly, LIMITS).step is Step.HOLD


def test_errors_of_the_first_units_are_no_reason_yet():
    verdict = decide(seen(arm(5, 0.0, errors=1.0), arm(45, 0.0), share=0.1), LIMITS)

    assert verdict.step is Step.HOLD


def test_what_both_stages_say_counts_together():
    first = Stage(share=0.1, canary=arm(300, 0.77), champion=arm(2700, 0.7))
    second = Stage(share=0.5, canary=arm(500, 0.78), champion=arm(500, 0.7))

    alone = [decide(Seen(stages=(stage,), passed_gate=False), LIMITS) for stage in (first, second)]
    together = decide(Seen(stages=(first, second), passed_gate=False), LIMITS)

    assert [verdict.low < 0 for verdict in alone] == [True, True]
    assert (together.step, together.low > 0) == (Step.PROMOTE, True)
