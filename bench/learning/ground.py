"""Where candidates are planted: some questions, a champion that has learned from others, and what it answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Self, TypeAlias

import numpy as np

from bench.learning import others
from bench.learning.arms import ARMS
from bench.learning.loop import Loop
from bench.learning.studio import Snapshot, Studio
from bench.learning.truth import Truth
from bench.learning.worlds import Floats, Question, World
from contract import plackett_luce
from contract.records import Candidate
from trainer.evidence import Scores
from trainer.examples import Example

LEARNED: Final = 100
"""Questions that versions are made from."""
JUDGED: Final = 200
"""Questions that the gate asks about."""
ASKED: Final = 4
"""Times that each is, .6 of which are judged."""
TAUGHT: Final = 300
"""Gold labels that the champion has seen."""

Lean: TypeAlias = Callable[[str, Sequence[Candidate]], Floats]
"""What else counts but the model's logits, (n,) in request order."""


@dataclass(frozen=True, kw_only=True)
class Leaning:
    """A version whose logits are so much of another's and so much of something else: `trainer.evidence.Scores`."""

    version: str
    base: Scores
    own: float = 1.0
    lean: Lean = field(default=lambda _, candidates: np.zeros(len(candidates)))
    strength: float = 0.0

    @property
    def precision(self) -> str:
        return self.base.precision

    @property
    def temperature(self) -> float:
        return self.base.temperature

    def logits(self, query: str, candidates: Sequence[Candidate]) -> Floats:
        """(n,) in request order."""
        leant = self.strength * self.lean(query, candidates)
        return leant + self.own * self.base.logits(query, candidates)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A version that is asked once about each query."""

    source: Scores
    _known: dict[str, Floats] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return self.source.version

    @property
    def precision(self) -> str:
        return self.source.precision

    @cached_property
    def temperature(self) -> float:
        return self.source.temperature

    def logits(self, query: str, candidates: Sequence[Candidate]) -> Floats:
        """(n,) in request order."""
        if query not in self._known:
            self._known[query] = self.source.logits(query, candidates)
        return self._known[query]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A world cut in two, and its champion."""

    world: World
    """All questions."""
    learned: World
    judged: World
    studio: Studio
    weights: Snapshot
    """The champion's."""
    champion: Scores

    @classmethod
    def of(cls, world: World, studio: Studio, *, seed: int) -> Self:
        drawn = np.random.default_rng(seed).permutation(len(world.train))[: LEARNED + JUDGED]
        chosen = tuple(world.train[at] for at in drawn.tolist())
        learned = replace(world, train=chosen[:LEARNED])
        weights = replace(
            others.gold_labels(learned, studio, events=TAUGHT, seed=seed), version="champion"
        )
        weights.orders(chosen)  # all pairs at once
        return cls(
            world=replace(world, train=chosen),
            learned=learned,
            judged=replace(world, train=chosen[LEARNED:]),
            studio=studio,
            weights=weights,
            champion=Known(source=weights),
        )

    @cached_property
    def spread(self) -> float:
        """Of the champion's logits within a question."""
        return float(
            np.mean([self.champion.logits(q.query, q.candidates).std() for q in self.world.train])
        )

    @cached_property
    def superseded(self) -> frozenset[tuple[str, str]]:
        """Queries with the texts that answer them wrongly."""
        return frozenset(
            (question.query, question.candidates[at].text)
            for question in self.world.train
            for at in wrong(question)
        )

    @cached_property
    def _champions(self) -> Floats:
        return values(self.world, self.champion)

    @cached_property
    def _explored(self) -> Truth:
        return Truth(self.world)

    def truth(self, candidate: Scores) -> float:
        """How much more its greedy orders are worth than the champion's, over all questions."""
        return float((values(self.world, candidate) - self._champions).mean())

    def truth_explored(self, candidate: Scores) -> float:
        """The same of the Plackett-Luce policies: what a log estimates."""
        return self._explored.gain(candidate, self.champion)

    def log(self, *, seed: int) -> list[Example]:
        """What the champion answered to the judged questions, as noisy and as incomplete as in the world."""
        loop = Loop.of(self.judged, ARMS["ours"], self.studio, seed=seed)
        loop.champion = self.weights
        rng = np.random.default_rng([seed, 7])
        asked = [at for _ in range(ASKED) for at in rng.permutation(JUDGED).tolist()]
        answered = [
            loop.answered(self.judged.train[at], number=number, rng=rng)
            for number, at in enumerate(asked)
        ]
        return [example for example in answered if example is not None]


def wrong(question: Question) -> list[int]:
    """Positions of the texts that the reader answers from, and wrongly."""
    return [at for at, worth in enumerate(question.worth) if worth == 0.0]


def values(world: World, scores: Scores) -> Floats:
    """(Q,) the exact reward of each of the questions to learn from, in this version's greedy order."""
    return np.array(
        [
            world.outcome(
                question,
                plackett_luce.greedy(scores.logits(question.query, question.candidates)).tolist(),
            ).reward
            for question in world.train
        ]
    )
