from math import log

import numpy as np
import pytest
import torch

from trainer import rollouts
from trainer.objective import step_log_prob
from trainer.rollouts import Rollout


def rollout(shown, *, n=3, log_propensity=None):
    return Rollout(
        question=0,
        n=n,
        shown=np.array(shown),
        log_propensity=np.array(log_propensity or [0.0] * len(shown)),
    )


def test_an_advantage_sums_what_is_better_than_the_reference_from_its_step_on():
    rewards, reference = np.array([0.0, 0.5, 1.0]), np.array([0.25, 0.25, 0.5])

    # V = (1, .75, .5, 0); delta_t = r_t + V_{t+1} - V_t = (-.25, .25, .5).
    delta = [0.0 + 0.75 - 1.0, 0.5 + 0.5 - 0.75, 1.0 + 0.0 - 0.5]
    assert rollouts.advantages(rewards, reference).tolist() == [
        pytest.approx(delta[0] + delta[1] + delta[2]),
        pytest.approx(delta[1] + delta[2]),
        pytest.approx(delta[2]),
    ]


def test_the_reference_itself_has_no_advantage():
    rewards = np.array([0.3, 0.7])

    assert rollouts.advantages(rewards, rewards).tolist() == pytest.approx([0, 0])


def test_one_used_document_has_its_reward_less_the_references():
    assert rollouts.advantages(np.array([1.0]), np.array([0.4])).tolist() == pytest.approx([0.6])


def test_prefixes_grow_by_a_document():
    assert rollouts.prefixes(np.array([2, 0, 1])) == [(2,), (2, 0), (2, 0, 1)]


def test_rankings_are_drawn_as_often_as_the_policy_says():
    logits, rng = np.log([6.0, 3.0, 1.0]), np.random.default_rng(0)

    drawn = [
        rollouts.draw(0, logits, temperature=1.0, used=2, rng=rng).shown.tolist()
        for _ in range(4_000)
    ]

    # Three standard deviations of a share at 4,000 draws are at most .024.
    assert np.mean([each == [0, 1] for each in drawn]) == pytest.approx(6 / 10 * 3 / 4, abs=0.024)
    assert np.mean([each == [2, 0] for each in drawn]) == pytest.approx(1 / 10 * 6 / 9, abs=0.024)


def test_each_step_knows_how_likely_it_was():
    logits = 0.5 * np.log([6.0, 3.0, 1.0])

    drawn = rollouts.draw(0, logits, temperature=0.5, used=3, rng=np.random.default_rng(1))

    left, steps = {0: 6.0, 1: 3.0, 2: 1.0}, []
    for position in drawn.shown.tolist():
        steps.append(log(left[position] / sum(left.values())))
        del left[position]
    assert drawn.log_propensity.tolist() == pytest.approx(steps)


def test_a_shorter_list_than_is_used_is_drawn_whole():
    drawn = rollouts.draw(0, np.zeros(2), temperature=1.0, used=3, rng=np.random.default_rng(0))

    assert sorted(drawn.shown.tolist()) == [0, 1]


def test_the_policy_that_drew_has_ratio_one():
    logits, rng = np.array([0.3, -0.2, 1.0, 0.4]), np.random.default_rng(2)
    drawn = [rollouts.draw(0, logits, temperature=0.7, used=k, rng=rng) for k in (3, 1, 4)]

    batch = rollouts.collate(drawn, [np.zeros(len(each.shown)) for each in drawn])

    log_pi_BT = step_log_prob(torch.tensor(logits / 0.7).repeat(3, 1), batch)
    assert torch.allclose(log_pi_BT.float(), batch.log_propensity_BT, atol=1e-6)


def test_padding_is_not_free_and_nothing_remains_there():
    batch = rollouts.collate(
        [rollout([1, 0]), rollout([2], n=4)], [np.array([0.5, -0.5]), np.array([1.0])]
    )

    assert batch.free_BT.tolist() == [[True, True], [True, False]]
    assert batch.remaining_BTN.tolist() == [
        [[True, True, True, False], [True, False, True, False]],
        [[True, True, True, True], [False] * 4],
    ]
    assert batch.advantage_BT.tolist() == [[0.5, -0.5], [1.0, 0.0]]
    assert batch.shown_BT.tolist() == [[1, 0], [2, 0]]
