"""What a capacity may change, and the shortest path from there to logits: what is below it is computed once.

The fusion weights and the last layer stand on cached activations. LoRA and everything change what enters the last
layer: each score of theirs is a whole forward, and the gradient of a batch is gathered list by list, since it keeps the
states of every layer until it is known.

Shapes: P pairs, T tokens, H hidden size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from trainer import heads, pairs, steps
from trainer.activations import Activations, Texts
from trainer.adapters import RANK, Adapters
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


def newest_first(examples: Iterable[Example]) -> list[Listing]:
    """Their lists."""
    by_age = sorted(examples, key=lambda each: each.decision.id.int)
    return [*map(Listing.of_example, reversed(by_age))]


Scores: TypeAlias = Callable[[Sequence[Listing]], list[Tensor]]
"""For each list its logits, (n,), not divided by the temperature."""

SCORED_AT_ONCE: Final = 64
"""Lists of one forward."""
WHOLE_AT_ONCE: Final = 1
"""Lists of one gradient through the whole model."""


class Capacity(StrEnum):
    """What a rung of the ladder may change."""

    FUSION = "fusion"
    LAST_LAYER = "last_layer"
    LORA = "lora"
    """Low-rank adapters beside queries and values in all layers; what follows the layers, as it is."""
    EVERYTHING = "everything"

    @property
    def is_whole(self) -> bool:
        """Whether it changes what enters the last layer, so that nothing computed ahead holds."""
        return self in {Capacity.LORA, Capacity.EVERYTHING}


class Learner:
    """The weights of one capacity, trainable within a `with`; after it the reranker is what it was."""

    def __init__(
        self,
        reranker: Reranker,
        trained: Sequence[nn.Parameter],
        scores: Scores,
        *,
        at_once: int | None = None,
    ) -> None:
        """at_once: lists of one gradient; None takes a batch as it comes."""
        self._reranker = reranker
        self.parameters = list(trained)
        self.scores = scores
        self._at_once = at_once
        self._start = _copies(trained)
        own = {id(parameter) for parameter in trained}
        self._named = {
            name: parameter
            for name, parameter in reranker.named_parameters()
            if id(parameter) in own
        }

    @staticmethod
    def of(
        reranker: Reranker,
        capacity: Capacity,
        activations: Activations,
        listings: Sequence[Listing],
        *,
        rank: int = RANK,
    ) -> "Learner":
        """Of the lists, everything that this capacity does not change is computed once.

        rank: of adapters, where it trains them.
        """
        reranker.eval()  # no dropout: a ratio is of two policies, not of two noises
        match capacity:
            case Capacity.FUSION:
                scores = _fusion_scores(reranker, activations, listings)
                return Learner(reranker, reranker.fusion_parameters(), scores)
            case Capacity.LAST_LAYER:
                scores = _head_scores(reranker, activations)
                return Learner(reranker, reranker.last_layer_parameters(), scores)
            case Capacity.LORA:
                return LowRankLearner(reranker, _whole_scores(reranker, activations), rank=rank)
            case Capacity.EVERYTHING:
                scores = _whole_scores(reranker, activations)
                whole = list(reranker.parameters())
                return Learner(reranker, whole, scores, at_once=WHOLE_AT_ONCE)

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
        reached = _copies(self.parameters)
        self._move(self._between(reached, share))
        try:
            yield
        finally:
            self._move(reached)

    def _between(self, reached: Sequence[Tensor], share: float) -> list[Tensor]:
        return [start.lerp(end, share) for start, end in zip(self._start, reached, strict=True)]

    @torch.no_grad()
    def _move(self, to: Sequence[Tensor]) -> None:
        for parameter, tensor in zip(self.parameters, to, strict=True):
            parameter.copy_(tensor)

    def state(self) -> dict[str, Tensor]:
        """The weights that it may change, by their names in the plain reranker."""
        return {name: parameter.detach().clone() for name, parameter in self._named.items()}

    def descend(
        self,
        chosen: Sequence[int],
        loss: Callable[[Sequence[int]], Tensor],
        *,
        of: int | None = None,
    ) -> None:
        """Adds the gradient of a mean over a batch, gathered from as many lists at a time as fit into memory.

        loss: the mean over some of the chosen.
        of: the size of the batch, where others have the rest of it.
        """
        at_once = self._at_once or max(1, len(chosen))
        for start in range(0, len(chosen), at_once):
            part = chosen[start : start + at_once]
            torch.autograd.backward(loss(part) * (len(part) / (of or len(chosen))))

    @torch.no_grad()
    def scored(self, listings: Sequence[Listing]) -> list[Tensor]:
        starts = range(0, len(listings), SCORED_AT_ONCE)
        return [
            each
            for start in starts
            for each in self.scores(listings[start : start + SCORED_AT_ONCE])
        ]


class LowRankLearner(Learner):
    """Adapters in place of the layers' weights, for as long as the `with`; what follows the layers as it is."""

    def __init__(self, reranker: Reranker, scores: Scores, *, rank: int) -> None:
        super().__init__(reranker, reranker.head_parameters(), scores, at_once=WHOLE_AT_ONCE)
        self._rank = rank
        self._plain = len(self.parameters)

    def __enter__(self) -> Self:
        self._adapters = Adapters(self._reranker, rank=self._rank)
        factors = [*self._adapters.ups, *self._adapters.downs]
        self.parameters += factors
        self._start += _copies(factors)
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._adapters.take_out()
        del self.parameters[self._plain :], self._start[self._plain :]

    def _between(self, reached: Sequence[Tensor], share: float) -> list[Tensor]:
        """Of a product half of one factor is half of the way; half of both would be a quarter."""
        downs = len(self._adapters.downs)
        return [*super()._between(reached, share)[:-downs], *reached[-downs:]]

    def state(self) -> dict[str, Tensor]:
        return super().state() | self._adapters.merged()


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


def _whole_scores(reranker: Reranker, activations: Activations) -> Scores:
    def scores(listings: Sequence[Listing]) -> list[Tensor]:
        texts = [pair for each in listings for pair in each.pairs]
        return _fused(reranker, whole_logits(reranker, activations, texts), listings)

    return scores


def whole_logits(reranker: Reranker, activations: Activations, wanted: Sequence[Texts]) -> Tensor:
    """The cross-encoder's logits by forwards through all layers, (P,): only the tokens are asked for."""
    return pairs.logits(reranker, activations.tokens(wanted), pad_id=activations.pad_id)


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


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]
