import numpy as np
import pytest

from bench.canary import Question, ends, summary
from bench.canary_traffic import World, requests, watch
from trainer.canary import SHARES, Limits, Step

SMALL = World(units=(200, 200), every=50, gap=5.0)


def test_the_sums_at_each_look_are_those_of_the_units_seen_until_then():
    made = requests(np.random.default_rng(3), SMALL, runs=1, stage=0, gain=0.0)
    watched = watch(np.random.default_rng(3), SMALL, runs=1, stage=0, gain=0.0)
    look = made.cell[0] % made.shape[2]
    is_canary = made.cell[0, :, 0] // made.shape[2] == 0

    until = made.judged[0] & (look <= 2)
    judged = until.any(-1) & is_canary
    means = (made.rewards[0] * until).sum(-1)[judged] / until.sum(-1)[judged]

    assert watched.reward[0].count[0, 2] == judged.sum() > 5
    assert watched.reward[0].total[0, 2] == pytest.approx(means.sum())
    assert watched.reward[0].squares[0, 2] == pytest.approx((means**2).sum())
    assert watched.rewards[0, 2] == until.sum()


def test_each_stage_gives_the_canary_its_share_and_its_gain():
    world = World(units=(20_000, 20_000), every=5_000)

    stages = [
        watch(np.random.default_rng(1), world, runs=1, stage=stage, gain=0.2) for stage in (0, 1)
    ]

    for share, watched in zip(SHARES, stages, strict=True):
        canary, champion = (float(arm.count[0, -1]) for arm in watched.reward)
        gain = float((watched.reward[0].mean - watched.reward[1].mean)[0, -1])
        assert canary / (canary + champion) == pytest.approx(share, abs=0.01)
        assert gain == pytest.approx(0.2, abs=0.03)  # 1,500 canary units: a standard error of .01


def test_a_disaster_is_rolled_back_in_every_run():
    found = list(
        ends(
            np.random.default_rng(0),
            Question(gain=-0.4, world=World(units=(2_000, 50))),
            runs=5,
            limits=Limits(),
        )
    )

    told = summary(Question(gain=-0.4), found)

    assert [end.step for end in found] == [Step.ROLL_BACK] * 5
    assert (told["n"], told["rolled_back"], told["granted_the_margin"]) == (5, 1.0, 0.0)
    assert told["rewards_until_rolled_back"]["median"] == sorted(end.rewards for end in found)[2]
    assert told["rewards_until_promoted"]["median"] is None
