"""From logged decisions to the tensors of the objective: what could be drawn at each step, and how it went.

Shapes: B decisions, N candidates in request order, T used steps; padding last.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract import plackett_luce
from trainer import baseline
from trainer.examples import Example
from trainer.objective import Objective, Steps
from trainer.splits import fold

Floats = NDArray[np.float64]

CREDIT_SHARE = 0.5
"""c: how much of an advantage is the document's own credit, where there is one."""


def collate(examples: Sequence[Example], advantages: Sequence[Floats]) -> Steps:
    """One batch.

    advantages: (used,) for each example.
    """
    offered = [sampled(example) for example in examples]
    shape = (len(examples), max(example.used for example in examples))
    shown, log_propensity = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
    advantage, free = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    remaining = np.zeros((*shape, max(map(len, offered))), dtype=bool)
    for row, example in enumerate(examples):
        k, n = example.used, len(offered[row])
        cumulated = example.decision.choice.cum_log_propensity[:k]
        log_propensity[row, :k] = np.diff(cumulated, prepend=0.0)
        advantage[row, :k] = advantages[row]
        shown[row, :k], remaining[row, :k, :n], free[row, :k] = choices(example)
    return Steps(
        shown_BT=torch.from_numpy(shown),
        remaining_BTN=torch.from_numpy(remaining),
        free_BT=torch.from_numpy(free),
        log_propensity_BT=torch.from_numpy(log_propensity),
        advantage_BT=torch.from_numpy(advantage),
    )


def sampled(example: Example) -> NDArray[np.int64]:
    """Request positions of the candidates that could move, in request order: the only ones to learn about."""
    best = plackett_luce.greedy(example.decision.logits)[: example.decision.policy.sampled]
    return np.sort(best)


def choices(
    example: Example,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """At each used step: what was shown, what remained, and whether there was a choice.

    Positions are those within `sampled`.  Returns (k,), (k, n), (k,).
    """
    policy, offered = example.decision.policy, sampled(example)
    used = example.decision.choice.shown[: example.used]
    ranks = np.argsort(plackett_luce.greedy(example.decision.logits))[used]
    moved = np.arange(len(used)) < policy.sampled
    shown = np.where(moved, np.searchsorted(offered, used).clip(max=len(offered) - 1), 0)
    remaining = np.ones((len(used), len(offered)), dtype=bool)
    for step in np.flatnonzero(moved):
        remaining[step + 1 :, shown[step]] = False
    forced = plackett_luce.forced_steps(ranks, max_fall=policy.max_fall)
    return shown, remaining, moved & ~forced


def advantages(examples: Sequence[Example], objective: Objective) -> list[Floats]:
    """How much better than expected each used document did, (used,) for each example.

        A_t = (1 - c) (R - b) + c (u_t - mean u)      where somebody spoke of the documents: u_t says what of this one
        A_t = R - b if cited, else 0                  where nobody did, and the answer cites some of them
        A_t = R - b                                   where nothing is known but the reward

    An answer is made from what it cites: what it passed over neither earned the reward nor spoilt it, and would
    only add noise. Where it was made again from the base's order, b is what that was worth (RRPO). The objective may do
    without b, or without what is known of single documents. Each is multiplied by the decision's weight over the mean
    weight: rewards that are seldom observed stand for those that were not.
    """
    b_B = _anchors(examples) if objective.baseline else np.zeros(len(examples))
    return [
        share * _advantage(example, example.reward - b, objective)
        for example, b, share in zip(examples, b_B, _shares(examples), strict=True)
    ]


def _anchors(examples: Sequence[Example]) -> Floats:
    """What the base's order was worth where it was played, else what is expected."""
    played = np.array([np.nan if each.reference is None else each.reference for each in examples])
    return np.where(np.isnan(played), expected(examples), played)


def _shares(examples: Sequence[Example]) -> Floats:
    """Each decision's weight over their mean."""
    weights = np.array([example.weight for example in examples])
    return weights / weights.mean() if len(weights) else weights


def _advantage(example: Example, surprise: float, objective: Objective) -> Floats:
    """(used,) before its weight."""
    alike = np.full(example.used, surprise)
    return _credited(example, alike) if objective.credit else alike


def expected(examples: Sequence[Example]) -> Floats:
    """b: what reward to expect of each, before acting."""
    return baseline.expected(
        [
            baseline.features(
                example.decision.logits / example.decision.policy.temperature,
                query=example.decision.query,
            )
            for example in examples
        ],
        np.array([example.reward for example in examples]),
        greedy=np.array([not example.decision.choice.explored for example in examples]),
        folds=np.array([fold(example.query_sha256, of=baseline.FOLDS) for example in examples]),
    )


def _credited(example: Example, surprise: Floats) -> Floats:
    used = example.decision.choice.shown[: example.used].tolist()
    credit = np.array([example.credits.get(position, np.nan) for position in used])
    known = ~np.isnan(credit)
    if known.sum() > 1:  # centred within the list, one word about one document says nothing
        centred = np.nan_to_num(credit - credit[known].mean())
        mixed: Floats = (1 - CREDIT_SHARE) * surprise + CREDIT_SHARE * centred
        return np.where(known, mixed, surprise)
    cited = np.array([position in example.cited for position in used])
    return np.where(cited, surprise, 0.0) if cited.any() else surprise


def padded(logits: Sequence[Tensor]) -> Tensor:
    """(B, N) from one (n,) for each decision; the padding is 0 and never remains."""
    return torch.nn.utils.rnn.pad_sequence(list(logits), batch_first=True)
