"""Which queries may tune and which may judge, by hash, the same on every machine; and what trains."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from trainer.examples import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Examples of disjoint queries."""

    train: tuple[Example, ...]
    tune: tuple[Example, ...]
    gate: tuple[Example, ...]


def split(
    examples: Iterable[Example], *, champion: str, tune_share: float, gate_share: float
) -> Split:
    """In one round no query both trains and judges.

    What tunes and judges is new, and was decided by the champion: weights of other models' decisions spread too far.
    The rest trains, what judged in earlier rounds too, unless its query judges again.
    """
    sides: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in examples:
        place = _uniform(example.query_sha256, salt=b"split")
        sides[2 if place < gate_share else 1 if place < gate_share + tune_share else 0].append(
            example
        )
    train, *judging = sides
    tune, gate = (
        tuple(each for each in side if each.fresh and each.decision.version == champion)
        for side in judging
    )
    asked = {each.query_sha256 for each in (*tune, *gate)}
    rest = [each for side in judging for each in side if each.query_sha256 not in asked]
    return Split(train=(*train, *rest), tune=tune, gate=gate)


def taught_by(examples: Iterable[Example], *, replay: int) -> list[Example]:
    """What a rung learns from: all that is fresh, and of the rest the newest, until there are so many in all."""
    fresh: list[Example] = []
    others: list[Example] = []
    for each in examples:
        (fresh if each.fresh else others).append(each)
    others.sort(key=lambda each: each.decision.id.int)
    left_out = max(0, len(fresh) + len(others) - replay)
    return [*others[left_out:], *fresh]


def fold(query_sha256: bytes, *, of: int) -> int:
    """The query's fold in [0, of)."""
    return int(_uniform(query_sha256, salt=b"fold") * of)


def cluster(query_sha256: bytes) -> int:
    """A number for the query."""
    return int.from_bytes(query_sha256[:7], "big")


def _uniform(query_sha256: bytes, *, salt: bytes) -> float:
    digest = hashlib.blake2b(query_sha256, digest_size=6, salt=salt).digest()
    return int.from_bytes(digest, "big") / 2**48
