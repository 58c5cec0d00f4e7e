from math import log

import numpy as np
import pytest
import torch
from torch import Tensor

from contract import plackett_luce
from trainer.objective import (
    Objective,
    Steps,
    Weights,
    divergence_from,
    log_policy,
    reinforce,
    step_log_prob,
)

CAP = 2.0
OURS = Objective(cap=CAP)


def steps(
    shown: list[list[int]],
    *,
    candidates: list[int],
    advantage: float = 1.0,
    log_propensity: float = -1.0,
    free: list[list[bool]] | None = None,
) -> Steps:
    shape = (len(shown), max(map(len, shown)))
    remaining = torch.zeros((*shape, max(candidates)), dtype=torch.bool)
    positions, used = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    for row, order in enumerate(shown):
        for step, position in enumerate(order):
            remaining[row, step, : candidates[row]] = True
            remaining[row, step, order[:step]] = False
            positions[row, step], used[row, step] = position, True
    return Steps(
        shown_BT=positions,
        remaining_BTN=remaining,
        free_BT=used if free is None else torch.tensor(free),
        log_propensity_BT=torch.full(shape, log_propensity),
        advantage_BT=torch.full(shape, advantage),
    )


def loss(
    logits: Tensor, logged: Steps, *, champion: Tensor | None = None, kl: float = 0.0
) -> Tensor:
    champion_BN = logits.detach() if champion is None else champion
    return reinforce(logits, logged, champion_BN=champion_BN, objective=OURS, kl=kl).total


def gradient(logits: Tensor) -> Tensor:
    assert logits.grad is not None
    return logits.grad


def test_each_step_is_a_softmax_over_what_is_left():
    a, b, c = 3.0, 2.0, 1.0
    logits = torch.tensor([[log(a), log(b), log(c)]])

    log_p = step_log_prob(logits, steps([[2, 0]], candidates=[3]))

    assert log_p[0].tolist() == pytest.approx([log(c / (a + b + c)), log(a / (a + b))])


@pytest.mark.parametrize("max_fall", [None, 0, 1, 3])
def test_torch_and_numpy_log_probabilities_agree(max_fall):
    rng = np.random.default_rng(7)
    logits = np.sort(rng.normal(size=6) * 3)[::-1].copy()
    shown = plackett_luce.sample(logits, rng, max_fall=max_fall)
    forced = plackett_luce.forced_steps(shown, max_fall=max_fall)
    logged = steps([shown.tolist()], candidates=[6], free=[(~forced).tolist()])

    ours = step_log_prob(torch.from_numpy(logits)[None], logged)

    numpy_log_p = plackett_luce.log_prob(logits, shown, max_fall=max_fall)
    assert ours.cumsum(-1)[0].numpy() == pytest.approx(numpy_log_p, abs=1e-9)


def test_the_ratio_weighs_the_step_and_carries_no_gradient():
    logits = torch.tensor([[log(3.0), log(1.0)]], requires_grad=True)
    logged = steps([[0]], candidates=[2], log_propensity=log(0.5), advantage=0.4)

    loss(logits, logged).backward()

    # rho = .75 / .5 = 1.5; d log pi(0) / d logit_0 = 1 - .75
    assert gradient(logits)[0, 0].item() == pytest.approx(-1.5 * 0.4 * 0.25)


def test_a_ratio_above_the_cap_counts_as_the_cap():
    logits = torch.tensor([[log(3.0), log(1.0)]], requires_grad=True)
    logged = steps([[0]], candidates=[2], log_propensity=log(0.01))

    result = reinforce(logits, logged, champion_BN=logits.detach(), objective=OURS, kl=0.0)
    result.total.backward()

    assert result.clipped_BT.tolist() == [[True]]
    assert gradient(logits)[0, 0].item() == pytest.approx(-CAP * 0.25)


def two_steps(objective: Objective, *, log_propensity: float, advantage: float) -> Tensor:
    """Of (a, b) shown out of logits 0, 0, 0: the policy gives its steps 1/3 and 1/2."""
    logits = torch.zeros(1, 3, requires_grad=True)
    logged = steps([[0, 1]], candidates=[3], log_propensity=log_propensity, advantage=advantage)
    result = reinforce(logits, logged, champion_BN=logits.detach(), objective=objective, kl=0.0)
    result.total.backward()
    return gradient(logits)[0]


def test_the_weight_of_a_list_is_the_product_of_its_ratios_at_every_step():
    found = two_steps(Objective(weights=Weights.LIST), log_propensity=log(0.4), advantage=1.0)

    # weight = (1/3 / .4) (1/2 / .4); d/d logit_2 of log 1/3 + log 1/2 = -1/3 - 1/2
    assert found[2].item() == pytest.approx((1 / 3 / 0.4) * (1 / 2 / 0.4) * (1 / 3 + 1 / 2))


def test_without_weights_a_gradient_is_the_advantage_times_that_of_the_log_probability():
    found = two_steps(Objective(weights=Weights.NONE), log_propensity=log(0.01), advantage=0.5)

    assert found[2].item() == pytest.approx(0.5 * (1 / 3 + 1 / 2))


def test_a_ppo_clip_leaves_no_gradient_beyond_it():
    clipped = Objective(ppo_clip=0.2)

    # Both ratios, 1/3 / .1 and 1/2 / .1, are above 1.2: a good answer asks for no more of it, a bad one for less.
    assert two_steps(clipped, log_propensity=log(0.1), advantage=1.0).abs().max().item() == 0.0
    assert two_steps(clipped, log_propensity=log(0.1), advantage=-1.0)[2].item() < 0


def test_within_a_ppo_clip_the_gradient_is_that_of_the_ratio():
    logits = torch.tensor([[log(3.0), log(1.0)]], requires_grad=True)
    logged = steps([[0]], candidates=[2], log_propensity=log(0.7), advantage=0.4)

    reinforce(
        logits, logged, champion_BN=logits.detach(), objective=Objective(ppo_clip=0.2), kl=0.0
    ).total.backward()

    # rho = .75 / .7; d rho / d logit_0 = rho (1 - .75)
    assert gradient(logits)[0, 0].item() == pytest.approx(-0.75 / 0.7 * 0.4 * 0.25)


def test_the_divergence_from_the_champion_is_exact():
    champion, pi = torch.tensor([[log(0.8), log(0.2)]]), torch.tensor([[log(0.5), log(0.5)]])
    logged = steps([[0]], candidates=[2])

    kl = divergence_from(
        log_policy(champion, logged.remaining_BTN), log_policy(pi, logged.remaining_BTN), logged
    )

    assert kl.item() == pytest.approx(0.8 * log(0.8 / 0.5) + 0.2 * log(0.2 / 0.5))


def test_at_the_champion_the_divergence_and_its_gradient_are_zero():
    logits = torch.tensor([[1.0, -0.5, 0.2]], requires_grad=True)
    logged = steps([[2, 0]], candidates=[3], advantage=0.0)

    total = loss(logits, logged, kl=1.0)
    total.backward()

    assert total.item() == pytest.approx(0.0, abs=1e-7)
    assert gradient(logits).abs().max().item() < 1e-7


def test_a_forced_step_teaches_nothing():
    logits = torch.tensor([[1.0, -0.5]], requires_grad=True)
    logged = steps([[1]], candidates=[2], free=[[False]])

    loss(logits, logged, champion=torch.zeros(1, 2), kl=1.0).backward()

    assert gradient(logits).abs().max().item() == 0.0


def test_a_candidate_beyond_the_sampled_set_is_never_moved():
    logits = torch.tensor([[1.0, -0.5, 9.0]], requires_grad=True)
    logged = steps([[1]], candidates=[2])
    padded = Steps(
        shown_BT=logged.shown_BT,
        remaining_BTN=torch.tensor([[[True, True, False]]]),
        free_BT=logged.free_BT,
        log_propensity_BT=logged.log_propensity_BT,
        advantage_BT=logged.advantage_BT,
    )

    loss(logits, padded, champion=torch.zeros(1, 3), kl=1.0).backward()

    assert gradient(logits)[0, 2].item() == 0.0
    assert gradient(logits)[0, 1].item() < 0.0


def test_padding_changes_nothing():
    alone = torch.tensor([[0.3, -1.0]], requires_grad=True)
    beside = torch.tensor([[0.3, -1.0, 0.0, 0.0], [4.0, 1.0, 0.5, -2.0]], requires_grad=True)
    one = steps([[1]], candidates=[2])
    both = steps([[1], [3, 0, 2]], candidates=[2, 4])

    loss(alone, one).backward()
    loss(beside, both).backward()

    # The mean over two decisions halves each gradient.
    assert gradient(beside)[0, :2].tolist() == pytest.approx((gradient(alone)[0] / 2).tolist())
    assert gradient(beside)[0, 2:].tolist() == [0.0, 0.0]


EXTREMES = {
    "one candidate": (torch.tensor([[2.0]]), [[0]], [1]),
    "all shown": (torch.tensor([[2.0, 0.1, -3.0]]), [[2, 0, 1]], [3]),
    "far apart": (torch.tensor([[1e4, -1e4, 0.0]]), [[1, 2]], [3]),
    "all equal": (torch.zeros(1, 5), [[4, 0]], [5]),
    "mostly padding": (torch.zeros(2, 50), [[0], [49, 3, 7]], [1, 50]),
}


@pytest.mark.parametrize("advantage", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("name", EXTREMES)
def test_loss_and_gradient_are_finite(name, advantage):
    start, shown, candidates = EXTREMES[name]
    logits = start.clone().requires_grad_()
    logged = steps(shown, candidates=candidates, advantage=advantage)

    total = loss(logits, logged, champion=torch.zeros_like(start), kl=0.5)
    total.backward()

    assert torch.isfinite(total)
    assert torch.isfinite(gradient(logits)).all()


def test_rewards_as_expected_leave_the_model_where_it_is():
    logits = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)

    loss(logits, steps([[2, 1]], candidates=[3], advantage=0.0)).backward()

    assert gradient(logits).abs().max().item() == 0.0
