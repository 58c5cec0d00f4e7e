"""What an answer is worth: containment discounted by place, and token F1 as SQuAD counts it."""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final

NOT_STATED: Final = "not stated"

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def first_contained(used: Sequence[str], answers: Sequence[str]) -> str:
    """The gold answer that the first used text with one contains, or `NOT_STATED`."""
    for text in used:
        for answer in answers:
            if _contains(text, answer):
                return answer
    return NOT_STATED


def discounted_containment(used: Sequence[str], answers: Sequence[str]) -> float:
    """1 / log2(1 + place) of the first used text that contains a gold answer; 0 where none does.

    >>> discounted_containment(["Lyon is old.", "Paris is big."], ["paris"])
    0.6309297535714575
    """
    for place, text in enumerate(used, start=1):
        if any(_contains(text, answer) for answer in answers):
            return 1 / math.log2(1 + place)
    return 0.0


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """The best F1 over words against one of the gold answers, case, articles and punctuation aside."""
    return max((_f1(_words(answer), _words(one)) for one in gold), default=0.0)


def _contains(text: str, answer: str) -> bool:
    words = " ".join(_words(answer))
    return bool(words) and f" {words} " in f" {' '.join(_words(text))} "


def _f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold)) if common else 0.0


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
