"""What a prompt is worth to the simulated reader: containment discounted by place."""

import math
from collections.abc import Sequence
from typing import Final

from trainer.answer_metrics import contains

NOT_STATED: Final = "not stated"


def first_contained(used: Sequence[str], answers: Sequence[str]) -> str:
    """The gold answer that the first used text with one contains, or `NOT_STATED`."""
    for text in used:
        for answer in answers:
            if contains(text, answer):
                return answer
    return NOT_STATED


def discounted_containment(used: Sequence[str], answers: Sequence[str]) -> float:
    """1 / log2(1 + place) of the first used text that contains a gold answer; 0 where none does.

    >>> discounted_containment(["Lyon is old.", "Paris is big."], ["paris"])
    0.6309297535714575
    """
    for place, text in enumerate(used, start=1):
        if any(contains(text, answer) for answer in answers):
            return 1 / math.log2(1 + place)
    return 0.0
