"""What a policy that explores is worth, exactly: every used prefix of every question, by its probability."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np

from bench.learning.worlds import Floats, Question, World
from trainer import calibration
from trainer.evidence import Scores


class Truth:
    """Exact values of Plackett-Luce policies in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rewards: dict[str, tuple[list[tuple[int, ...]], Floats]] = {}

    def gain(self, candidate: Scores, champion: Scores) -> float:
        """Of the rewards as they are seen: flips shrink every difference."""
        questions = self._world.train
        ours = [candidate.logits(each.query, each.candidates) for each in questions]
        theirs = [champion.logits(each.query, each.candidates) for each in questions]
        as_sure = calibration.matched(ours, like=theirs, temperature_of_those=champion.temperature)
        difference = self._value(ours, as_sure) - self._value(theirs, champion.temperature)
        return (1 - 2 * self._world.noise.flipped) * difference

    def _value(self, logits: Sequence[Floats], temperature: float) -> float:
        return float(
            np.mean(
                [
                    self._of(question, one / temperature)
                    for question, one in zip(self._world.train, logits, strict=True)
                ]
            )
        )

    def _of(self, question: Question, logits: Floats) -> float:
        prefixes, rewards = self._known(question)
        return float((_probabilities(logits, np.array(prefixes)) * rewards).sum())

    def _known(self, question: Question) -> tuple[list[tuple[int, ...]], Floats]:
        if question.id not in self._rewards:
            used = min(self._world.used, len(question.candidates))
            prefixes = list(permutations(range(len(question.candidates)), used))
            rewards = [self._world.outcome(question, prefix).reward for prefix in prefixes]
            self._rewards[question.id] = prefixes, np.array(rewards)
        return self._rewards[question.id]


def _probabilities(logits: Floats, prefixes_PK: "np.ndarray[Any, np.dtype[np.int64]]") -> Floats:
    """(P,) of each prefix under Plackett-Luce.

    >>> _probabilities(np.log([3.0, 1.0]), np.array([[0, 1], [1, 0]])).round(2).tolist()
    [0.75, 0.25]
    """
    weight_PK = np.exp(logits - logits.max())[prefixes_PK]
    taken_PK = weight_PK.cumsum(-1) - weight_PK
    left_PK = np.exp(logits - logits.max()).sum() - taken_PK
    product: Floats = (weight_PK / left_PK).prod(-1)
    return product
