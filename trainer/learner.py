"""What a capacity may change, and the shortest path from there to logits: all below is computed once.

Shapes: P pairs, T tokens, H hidden size.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.first_stage import of_candidates
from contract.records import Candidate
from trainer import heads, steps
from trainer.activations import Activations, Texts
from trainer.examples import Example
from trainer.model import Reranker


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a forward needs of one list of documents."""

    pairs: tuple[Texts, ...]
    first_stage: NDArray[np.float32]
    """(n, 3)."""

    @classmethod
    def of(cls, query: str, candidates: Sequence[Candidate]) -> Self:
        return cls(
            pairs=tuple((query, candidate.text) for candidate in candidates),
            first_stage=of_candidates(candidates),
        )

    @classmethod
    def of_example(cls, example: Example) -> Self:
        """Of the candidates that could move."""
        decision, sampled = example.decision, steps.sampled(example)
        return cls(
            pairs=tuple((decision.query, decision.candidates[at].text) for at in sampled),
            first_stage=of_candidates(decision.candidates)[sampled],
        )


Scores: TypeAlias = Callable[[Sequence[Listing]], list[Tensor]]
"""For each list its logits, (n,), not divided by the temperature."""

SCORED_AT_ONCE: Final = 64
"""Lists of one forward."""


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
        listings: Sequence[Listing],
    ) -> Self:
        """Of the lists, everything that this capacity does not change is computed once."""
        reranker.eval()  # no dropout: a ratio is of two policies, not of two noises
        if capacity is Capacity.FUSION:
            scores = _fusion_scores(reranker, activations, listings)
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

    def reset(self) -> None:
        self._move(self._start)

    @contextmanager
    def part_of_the_way(self, share: float) -> Iterator[None]:
        """The weights between those of the champion (0) and those of now (1), for so long."""
        reached = [parameter.detach().clone() for parameter in self.parameters]
        self._move(
            [start.lerp(end, share) for start, end in zip(self._start, reached, strict=True)]
        )
        try:
            yield
        finally:
            self._move(reached)

    @torch.no_grad()
    def _move(self, to: Sequence[Tensor]) -> None:
        for parameter, tensor in zip(self.parameters, to, strict=True):
            parameter.copy_(tensor)

    def state(self) -> dict[str, Tensor]:
        changed = {id(parameter) for parameter in self.parameters}
        return {
            name: parameter.detach().clone()
            for name, parameter in self._reranker.named_parameters()
            if id(parameter) in changed
        }

    @torch.no_grad()
    def scored(self, listings: Sequence[Listing]) -> list[Tensor]:
        starts = range(0, len(listings), SCORED_AT_ONCE)
        return [
            each
            for start in starts
            for each in self.scores(listings[start : start + SCORED_AT_ONCE])
        ]


def _head_scores(reranker: Reranker, activations: Activations) -> Scores:
    def scores(listings: Sequence[Listing]) -> list[Tensor]:
        states_PTH, mask_PT = activations.of([pair for each in listings for pair in each.pairs])
        pair_logits_P = heads.pair_logits(reranker.encoder, states_PTH, mask_PT)
        return _fused(reranker, pair_logits_P, listings)

    return scores


def _fusion_scores(
    reranker: Reranker, activations: Activations, listings: Sequence[Listing]
) -> Scores:
    """The cross-encoder's logits stay as they are: computed once, then only fused."""
    known = _pair_logits(reranker, activations, listings)

    def scores(listings: Sequence[Listing]) -> list[Tensor]:
        pair_logits_P = torch.tensor([known[pair] for each in listings for pair in each.pairs])
        return _fused(reranker, pair_logits_P, listings)

    return scores


def _fused(reranker: Reranker, pair_logits_P: Tensor, listings: Sequence[Listing]) -> list[Tensor]:
    first_stage = torch.from_numpy(np.concatenate([each.first_stage for each in listings]))
    logits_P: Tensor = reranker.fusion(pair_logits_P, first_stage)
    return list(torch.split(logits_P, [len(each.pairs) for each in listings]))


@torch.no_grad()
def _pair_logits(
    reranker: Reranker, activations: Activations, listings: Sequence[Listing]
) -> dict[Texts, float]:
    wanted = list(dict.fromkeys(pair for each in listings for pair in each.pairs))
    known: dict[Texts, float] = {}
    for start in range(0, len(wanted), 8 * SCORED_AT_ONCE):
        chunk = wanted[start : start + 8 * SCORED_AT_ONCE]
        logits_P = heads.pair_logits(reranker.encoder, *activations.of(chunk))
        known.update(zip(chunk, logits_P.tolist(), strict=True))
    return known
