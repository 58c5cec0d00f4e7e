"""Off-policy REINFORCE over the steps of the used prefix, held near the champion by an exact KL.

    loss = - mean_i sum_t stopgrad(min(rho_t, cap)) A_t log pi_theta(a_t | a_<t)
           + kl mean_i sum_t KL( pi_champion(. | s_t) || pi_theta(. | s_t) )

    rho_t = pi_theta(a_t | a_<t) / exp( log beta(a_1..a_t) - log beta(a_1..a_t-1) )

The ratio is one step's, not the product over a list: weights of whole lists collapse. It carries no gradient.
`Objective` also names what others do, to be compared with.
Sources: Williams (1992); Ionides (2008); Schulman et al. (2017), arXiv:1707.06347; Chen et al. (2019),
arXiv:1812.02353.

Shapes: B decisions, N candidates in request order, T used steps; padding last.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Weights(StrEnum):
    """What a step's gradient is multiplied by, besides its advantage."""

    STEP = "step"
    """The step's own ratio."""
    LIST = "list"
    """The product of the ratios of all used steps: unbiased, and of a variance that grows with the list."""
    NONE = "none"
    """1, as if the log were the policy's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is minimised, the weight of the divergence aside; the defaults are ours."""

    weights: Weights = Weights.STEP
    cap: float = 2.0
    """Largest weight."""
    ppo_clip: float | None = None
    """Where given, min(rho A, clip(rho, 1 - c, 1 + c) A) instead, with the gradient through the step's ratio."""
    baseline: bool = True
    """Whether an advantage is the reward less what was expected."""
    credit: bool = True
    """Whether what is known of single documents counts: their utility, or which of them the answer cites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What was logged of the used steps of B decisions."""

    shown_BT: Tensor
    """The candidate shown at each step; 0 in the padding."""
    remaining_BTN: Tensor
    """Which candidates could still be drawn at that step."""
    free_BT: Tensor
    """Steps at which there was a choice: neither forced by the bound, nor beyond the sampled set, nor padding."""
    log_propensity_BT: Tensor
    """Nats of that step alone: log beta(a_1..a_t) - log beta(a_1..a_t-1)."""
    advantage_BT: Tensor
    """How much better than expected it went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A scalar to minimise, and what it was made of."""

    total: Tensor
    kl: Tensor
    """Mean over decisions, nats."""
    clipped_BT: Tensor
    """Free steps whose weight was cut."""


def reinforce(
    logits_BN: Tensor, steps: Steps, *, champion_BN: Tensor, objective: Objective, kl: float
) -> Loss:
    """The loss of one batch.

    logits_BN, champion_BN: divided by the temperature, from the same torch path.
    """
    log_pi_BTN = log_policy(logits_BN, steps.remaining_BTN)
    log_pi_BT = _taken(log_pi_BTN, steps)
    log_ratio_BT = (log_pi_BT - steps.log_propensity_BT).masked_fill(~steps.free_BT, 0.0)
    gain_BT, clipped_BT = (
        _weighted(log_pi_BT, log_ratio_BT.detach(), steps, objective)
        if objective.ppo_clip is None
        else _ppo(log_ratio_BT.exp(), steps.advantage_BT, clip=objective.ppo_clip)
    )
    divergence = divergence_from(log_policy(champion_BN, steps.remaining_BTN), log_pi_BTN, steps)
    reinforced = gain_BT.masked_fill(~steps.free_BT, 0.0).sum(-1).mean()
    return Loss(
        total=kl * divergence - reinforced,
        kl=divergence.detach(),
        clipped_BT=clipped_BT & steps.free_BT,
    )


def _weighted(
    log_pi_BT: Tensor, log_ratio_BT: Tensor, steps: Steps, objective: Objective
) -> tuple[Tensor, Tensor]:
    """Gain of each step, and whether its weight was cut; the weight carries no gradient."""
    log_weight_BT = {
        Weights.STEP: log_ratio_BT,
        Weights.LIST: log_ratio_BT.sum(-1, keepdim=True).expand_as(log_ratio_BT),
        Weights.NONE: torch.zeros_like(log_ratio_BT),
    }[objective.weights]
    weight_BT = log_weight_BT.exp()
    capped_BT = weight_BT.clamp(max=objective.cap)
    return capped_BT * steps.advantage_BT * log_pi_BT, weight_BT > objective.cap


def _ppo(ratio_BT: Tensor, advantage_BT: Tensor, *, clip: float) -> tuple[Tensor, Tensor]:
    """Gain of each step, and whether its ratio was outside; there the gradient is 0 where it would lead further out."""
    inside_BT = ratio_BT.clamp(1 - clip, 1 + clip)
    gain_BT = torch.minimum(ratio_BT * advantage_BT, inside_BT * advantage_BT)
    return gain_BT, (ratio_BT.detach() - 1).abs() > clip


def log_policy(logits_BN: Tensor, remaining_BTN: Tensor) -> Tensor:
    """Log-probability of every candidate at every step, (B, T, N); meaningless where it does not remain."""
    # Finite, so that neither a softmax over nothing nor a gradient is NaN; halved, so that a difference is finite.
    nothing = torch.finfo(logits_BN.dtype).min / 2
    offered_BTN = logits_BN[:, None, :].expand(remaining_BTN.shape)
    return offered_BTN.masked_fill(~remaining_BTN, nothing).log_softmax(-1)


def step_log_prob(logits_BN: Tensor, steps: Steps) -> Tensor:
    """Differentiable twin of the steps of `contract.plackett_luce.log_prob`; a test holds them equal.

    logits_BN: divided by the temperature.  Returns (B, T) nats; 0 where there was no choice.
    """
    log_pi_BT = _taken(log_policy(logits_BN, steps.remaining_BTN), steps)
    return log_pi_BT.masked_fill(~steps.free_BT, 0.0)


def divergence_from(champion_BTN: Tensor, log_pi_BTN: Tensor, steps: Steps) -> Tensor:
    """Mean over decisions of the summed KL(champion || pi) at the free steps, over what remains; nats."""
    counted_BTN = steps.remaining_BTN & steps.free_BT[..., None]
    terms_BTN = champion_BTN.exp() * (champion_BTN - log_pi_BTN)
    return terms_BTN.masked_fill(~counted_BTN, 0.0).sum((-1, -2)).mean()


def _taken(log_pi_BTN: Tensor, steps: Steps) -> Tensor:
    return log_pi_BTN.gather(-1, steps.shown_BT[..., None]).squeeze(-1)
