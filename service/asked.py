"""One request, understood, and what makes two of them the same."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

from contract.records import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How much of a document is read."""

    max_tokens: int | None = None
    """Of a document; as many as fit the model in any case."""
    windows: int = 1
    """A document that does not fit is read in so many windows at most, of which the best counts."""
    may_cut: bool = True
    """Whether a document that does not fit is cut; else it is refused."""
    keeps_end: bool = False
    """Whether it loses its beginning instead of its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, understood."""

    tenant: str
    line: str | None
    query: str
    candidates: tuple[Candidate, ...]
    top_n: int | None = None
    session: str | None = None
    explore: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    reading: Reading = Reading()
    log: bool = True
    """Whether it is a decision to remember at all."""
    request_key: str | None = None
    """The caller's Idempotency-Key."""
    waits_until: float = math.inf
    """When the caller gives up, of `time.perf_counter`, where something says so."""


def fingerprint(asked: Asked) -> bytes:
    """Equal for requests that must be answered alike; how many are shown may differ."""
    candidates = [[each.text, each.key, each.score] for each in asked.candidates]
    reading = astuple(asked.reading)
    return digest(
        [asked.tenant, asked.line, asked.session, asked.query, asked.explore, candidates, reading]
    )


def digest(parts: Sequence[object]) -> bytes:
    """A key for anything that JSON can say."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()
