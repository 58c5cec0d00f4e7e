"""No source and no tenant holds more than its share of what trains or of what judges.

Of the rewards of one type of source no source holds more than its share, once there are at least twice as many sources
of that type as the share would leave room for (twenty for a tenth); of all rewards no tenant, by the same rule. What is
above it is left out by the hash of the decision, which nobody can choose.
"""

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

from trainer.examples import Example, Skipped
from trainer.splits import Split

MANY: Final = 2.0
"""With so many times the holders that a share leaves room for, most may hold less than it without anything lost."""

Holders: TypeAlias = Iterable[tuple[Hashable, Hashable]]
"""For each part of the whole that an example belongs to: the part, and who holds the example there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The most that one of several may hold; 1 does not bound it."""

    source: float = 1.0
    """Of the rewards by its type of source."""
    tenant: float = 1.0


UNBOUNDED: Final = Shares()


def within(sides: Split, shares: Shares) -> tuple[Split, Counter[Skipped]]:
    """Each side by itself.  Of what trains a rung may take the newest alone, which `train.climb` bounds."""
    train, tune, gate = (capped(side, shares) for side in (sides.train, sides.tune, sides.gate))
    kept = Split(train=tuple(train[0]), tune=tuple(tune[0]), gate=tuple(gate[0]))
    return kept, train[1] + tune[1] + gate[1]


def capped(examples: Sequence[Example], shares: Shares) -> tuple[list[Example], Counter[Skipped]]:
    """What is left within the shares, and how many were left out by reason."""
    rules = (
        (Skipped.OVER_TENANT_SHARE, _tenant, shares.tenant),
        (Skipped.OVER_SOURCE_SHARE, _sources, shares.source),
    )
    kept, skipped = list(examples), Counter[Skipped]()
    before = -1
    while len(kept) != before:  # leaving one out changes the shares of all others
        before = len(kept)
        for reason, holders, share in rules:
            over = _over(kept, holders, share=share)
            kept = [example for example in kept if example.decision.id not in over]
            skipped[reason] += len(over)
    return kept, +skipped


def level(held: Sequence[int], *, share: float, examples: int) -> int:
    """How much each may keep, so that nobody holds more than the share of what is kept.

    examples: how many they are in all; fewer than the sum where some belong to several.

    >>> level([100, 4, 4, 4], share=0.5, examples=112)
    12
    """
    if len(held) < MANY / share:
        return max(held)
    alone = examples / sum(held)

    def largest(kept: int) -> float:
        return kept / (alone * sum(min(kept, each) for each in held))

    return bisect_right(range(1, max(held) + 1), share, key=largest)


def _tenant(example: Example) -> Holders:
    return [("all", example.decision.tenant)]


def _sources(example: Example) -> Holders:
    return [(origin.type, origin) for origin in sorted(example.origins)]


def _over(
    examples: Sequence[Example], holders: Callable[[Example], Holders], *, share: float
) -> set[Hashable]:
    parts: Mapping[Hashable, dict[Hashable, list[Hashable]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for example in sorted(examples, key=_place):
        for part, holder in holders(example):
            parts[part][holder].append(example.decision.id)
    over: set[Hashable] = set()
    for held in parts.values():
        examples_of_part = len(set(chain.from_iterable(held.values())))
        may_keep = level(list(map(len, held.values())), share=share, examples=examples_of_part)
        for ids in held.values():
            over.update(ids[may_keep:])
    return over


def _place(example: Example) -> bytes:
    return hashlib.blake2b(example.decision.id.bytes, digest_size=8, salt=b"caps").digest()
