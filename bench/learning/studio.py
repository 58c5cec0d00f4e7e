"""The model of an arm: one base for all, and snapshots of the weights that training changes, mostly few.

A snapshot scores with torch what the file would score that is exported from it; that both agree is the gate's first
question, which `bench.learning.planted` puts to real files.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.learning.worlds import Floats, Question
from contract import plackett_luce
from contract.records import Candidate
from contract.tokens import PairTokenizer
from trainer import base, calibration, golden, heads, reference
from trainer.activations import Activations, Texts
from trainer.golden import GoldenSet
from trainer.learner import Listing, whole_logits
from trainer.model import Fusion, Reranker

State: TypeAlias = Mapping[str, Tensor]

MAX_LENGTH: Final = 256
"""Tokens of a pair: activations of all questions are to fit into memory."""
PRECISION: Final = "float32"
AT_ONCE: Final = 512
"""Pairs of one forward."""


class Studio:
    """The base, what enters its last layer for every pair seen, and the golden set."""

    def __init__(self, *, max_bytes: int, unfused: bool = False) -> None:
        start = base.load(base.MINILM, max_length=MAX_LENGTH)
        self.reranker: Reranker = start.reranker
        if unfused:  # the cross-encoder alone: what a base from the hub starts as
            with torch.no_grad():
                self.reranker.fusion.pair.fill_(1.0)
                self.reranker.fusion.first_stage.zero_()
                self.reranker.fusion.bias.zero_()
        self.activations = Activations(
            start.reranker,
            PairTokenizer.from_file(start.tokenizer_path, max_length=start.max_length),
            pad_id=start.pad_id,
            max_bytes=max_bytes,
        )
        self.golden = GoldenSet(golden.judged())
        own = {id(each) for each in self.reranker.last_layer_parameters()}
        self._start = {
            name: parameter.detach().clone()
            for name, parameter in self.reranker.named_parameters()
            if id(parameter) in own
        }

    @property
    def start(self) -> "Snapshot":
        return Snapshot(version="start", state=self._start, studio=self)

    def snapshot(self, version: str, state: State) -> "Snapshot":
        """state: what training changed, from the start's weights where it names no others."""
        return Snapshot(version=version, state={**self._start, **state}, studio=self)

    def put_on(self, state: State) -> None:
        """The reranker with these weights, until others are put on."""
        parameters = dict(self.reranker.named_parameters())
        with torch.no_grad():
            for name, tensor in state.items():
                parameters[name].copy_(tensor)

    def logits(self, pairs: Sequence[Texts], *, whole: bool) -> Tensor:
        """The cross-encoder's, with the weights of now.

        whole: by forwards through all layers, since those below the last are not the start's.
        """
        if whole:
            return whole_logits(self.reranker, self.activations, pairs)
        return heads.pair_logits(self.reranker.encoder, *self.activations.of(pairs))

    @contextmanager
    def wearing(self, state: State) -> Iterator[Reranker]:
        """The reranker with these weights, for so long."""
        parameters = dict(self.reranker.named_parameters())
        own = {name: parameters[name].detach().clone() for name in state}
        self.put_on(state)
        try:
            yield self.reranker
        finally:
            self.put_on(own)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A version as it would be served: `trainer.evidence.Scores`."""

    version: str
    state: State
    studio: Studio
    precision: str = PRECISION
    _known: dict[Texts, float] = field(default_factory=dict)

    @cached_property
    def temperature(self) -> float:
        """As an export calibrates it."""
        return calibration.temperature(
            [self.logits(each.query, each.candidates) for each in reference.lists()]
        )

    def logits(self, query: str, candidates: Sequence[Candidate]) -> Floats:
        """(n,) in request order."""
        listing = Listing.of(query, candidates)
        self.know(listing.pairs)
        pair_logits_P = torch.tensor([self._known[pair] for pair in listing.pairs])
        with torch.no_grad():
            logits_P: Tensor = self._fusion(pair_logits_P, torch.from_numpy(listing.first_stage))
        return np.asarray(logits_P.numpy(), dtype=np.float64)

    @property
    def is_whole(self) -> bool:
        """Whether layers below the last differ from the start's."""
        return not self.state.keys() <= self.studio.start.state.keys()

    @cached_property
    def _fusion(self) -> Fusion:
        fusion = Fusion()
        own = {name: self.state[f"fusion.{name}"] for name, _ in fusion.named_parameters()}
        fusion.load_state_dict(own)
        return fusion

    @torch.no_grad()
    def know(self, pairs: Sequence[Texts]) -> None:
        """Scores what is not yet scored, many at once."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if not missing:
            return
        with self.studio.wearing(self.state):
            for start in range(0, len(missing), AT_ONCE):
                chunk = missing[start : start + AT_ONCE]
                logits = self.studio.logits(chunk, whole=self.is_whole)
                self._known.update(zip(chunk, logits.tolist(), strict=True))

    def orders(self, questions: Sequence[Question]) -> list[NDArray[np.int64]]:
        """The greedy order of each."""
        self.know([(one.query, each.text) for one in questions for each in one.candidates])
        return [
            plackett_luce.greedy(self.logits(question.query, question.candidates))
            for question in questions
        ]
