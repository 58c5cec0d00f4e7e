"""What a capacity may change, and the shortest path from there to logits: all below is computed once.

Shapes: P pairs, T tokens, H hidden size.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from contract.first_stage import of_candidates
from trainer import heads, steps
from trainer.activations import Activations, Texts
from trainer.examples import Example
from trainer.model import Reranker

Scores: TypeAlias = Callable[[Sequence[Example]], list[Tensor]]
"""For each example its sampled candidates' logits, (n,), not divided by the temperature."""

SCORED_AT_ONCE: Final = 64
"""Decisions of one forward."""


class Capacity(StrEnum):
    """What a rung of the ladder may change."""

    FUSION = "fusion"
    LAST_LAYER = "last_layer"


class Learner:
    """The weights of one capacity, trainable within a `with`; after it the reranker is what it was."""

    def __init__(self, reranker: Reranker, trained: Sequence[nn.Parameter], scores: Scores) -> None:
        self._reranker = reranker
        self.parameters = list(trained)
        self.scores = scores
        self._start = [parameter.detach().clone() for parameter in trained]

    @classmethod
    def of(
        cls,
        reranker: Reranker,
        capacity: Capacity,
        activations: Activations,
        examples: Sequence[Example],
    ) -> Self:
        """Of the examples, everything that this capacity does not change is computed once."""
        reranker.eval()  # no dropout: a ratio is of two policies, not of two noises
        if capacity is Capacity.FUSION:
            scores = _fusion_scores(reranker, activations, examples)
            return cls(reranker, reranker.fusion_parameters(), scores)
        scores = _head_scores(reranker, activations)
        return cls(reranker, reranker.last_layer_parameters(), scores)

    def __enter__(self) -> Self:
        self._reranker.requires_grad_(requires_grad=False)
        for parameter in self.parameters:
            parameter.requires_grad_()
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        self._reranker.requires_grad_(requires_grad=False)

    @torch.no_grad()
    def reset(self) -> None:
        for parameter, start in zip(self.parameters, self._start, strict=True):
            parameter.copy_(start)

    def state(self) -> dict[str, Tensor]:
        changed = {id(parameter) for parameter in self.parameters}
        return {
            name: parameter.detach().clone()
            for name, parameter in self._reranker.named_parameters()
            if id(parameter) in changed
        }

    @torch.no_grad()
    def scored(self, examples: Sequence[Example]) -> list[Tensor]:
        starts = range(0, len(examples), SCORED_AT_ONCE)
        return [
            each
            for start in starts
            for each in self.scores(examples[start : start + SCORED_AT_ONCE])
        ]


def _head_scores(reranker: Reranker, activations: Activations) -> Scores:
    def scores(examples: Sequence[Example]) -> list[Tensor]:
        pairs = [texts(example) for example in examples]
        states_PTH, mask_PT = activations.of([pair for each in pairs for pair in each])
        pair_logits_P = heads.pair_logits(reranker.encoder, states_PTH, mask_PT)
        logits_P: Tensor = reranker.fusion(pair_logits_P, _first_stage(examples))
        return list(torch.split(logits_P, [len(each) for each in pairs]))

    return scores


def _fusion_scores(
    reranker: Reranker, activations: Activations, examples: Sequence[Example]
) -> Scores:
    """The cross-encoder's logits stay as they are: computed once, then only fused."""
    known = _pair_logits(reranker, activations, examples)

    def scores(examples: Sequence[Example]) -> list[Tensor]:
        pairs = [texts(example) for example in examples]
        pair_logits_P = torch.tensor([known[pair] for each in pairs for pair in each])
        logits_P: Tensor = reranker.fusion(pair_logits_P, _first_stage(examples))
        return list(torch.split(logits_P, [len(each) for each in pairs]))

    return scores


@torch.no_grad()
def _pair_logits(
    reranker: Reranker, activations: Activations, examples: Sequence[Example]
) -> dict[Texts, float]:
    wanted = list(dict.fromkeys(pair for example in examples for pair in texts(example)))
    known: dict[Texts, float] = {}
    for start in range(0, len(wanted), 8 * SCORED_AT_ONCE):
        chunk = wanted[start : start + 8 * SCORED_AT_ONCE]
        logits_P = heads.pair_logits(reranker.encoder, *activations.of(chunk))
        known.update(zip(chunk, logits_P.tolist(), strict=True))
    return known


def texts(example: Example) -> list[Texts]:
    """The pairs of the candidates that could move."""
    decision = example.decision
    return [(decision.query, decision.candidates[at].text) for at in steps.sampled(example)]


def _first_stage(examples: Sequence[Example]) -> Tensor:
    rows = [
        of_candidates(example.decision.candidates)[steps.sampled(example)] for example in examples
    ]
    return torch.from_numpy(np.concatenate(rows))
