"""What an answer is worth against gold answers: exact match, token F1 and containment, as SQuAD counts them.

Case, articles and punctuation count for nothing. Of several gold answers the one that fits best counts.
Source: Rajpurkar et al. (2016), arXiv:1606.05250.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)

Worth: TypeAlias = Callable[[str, Sequence[str]], float]
"""Of an answer, given the gold ones; in [0, 1]."""


class Metric(StrEnum):
    """How answers are valued."""

    F1 = "f1"
    EXACT = "exact"
    CONTAINED = "contained"


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """The best F1 over words against one of the gold answers."""
    return max((_f1(_words(answer), _words(one)) for one in gold), default=0.0)


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 where it is one of the gold answers word for word, else 0."""
    return float(any(_words(answer) == _words(one) for one in gold))


def containment(answer: str, gold: Sequence[str]) -> float:
    """1 where it contains the words of one of the gold answers in a row, else 0."""
    return float(any(contains(answer, one) for one in gold))


WORTH: Final[Mapping[Metric, Worth]] = {
    Metric.F1: token_f1,
    Metric.EXACT: exact_match,
    Metric.CONTAINED: containment,
}


def contains(text: str, answer: str) -> bool:
    """Whether the words of the answer stand in the text in a row; an empty answer stands nowhere."""
    words = " ".join(_words(answer))
    return bool(words) and f" {words} " in f" {' '.join(_words(text))} "


def _f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold)) if common else 0.0


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
