"""How many honest passages the judge's suspicion takes for texts that speak to a grader."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from judge.calibration import rate
from judge.case import Case
from judge.suspicion import signs
from trainer import datasets

SETS: Final = ("squad", "fairytaleqa")


def counted(data: Path) -> dict[str, Any]:
    """By the set; data: the folder that holds them."""
    return {name: of(_passages(data / name)) for name in SETS if (data / name).exists()}


def of(texts: Iterable[str]) -> dict[str, Any]:
    """How many texts, how many show a sign, and which."""
    found = [signs(Case(query="", documents=[text], answer="")) for text in texts]
    noticed = sum(map(bool, found))
    share = rate(noticed, len(found))
    return {
        "n": len(found),
        "noticed": noticed,
        "share": None if share is None else share.value,
        "interval": None if share is None else [share.low, share.high],
        "by_sign": dict(sorted(Counter(sign for each in found for sign in each).items())),
    }


def _passages(folder: Path) -> Iterator[str]:
    for passage in datasets.load(folder).passages.values():
        yield passage.text
