"""One request, understood, and what makes two of them the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contract.records import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, understood."""

    tenant: str
    line: str | None
    query: str
    candidates: tuple[Candidate, ...]
    top_n: int | None
    session: str | None
    explore: bool
    tags: Mapping[str, str] = field(default_factory=dict)
    request_key: str | None = None
    """The caller's Idempotency-Key."""


def fingerprint(asked: Asked) -> bytes:
    """Equal for requests that must be answered alike; how many are shown may differ."""
    candidates = [[each.text, each.key, each.score] for each in asked.candidates]
    return digest([asked.tenant, asked.line, asked.session, asked.query, asked.explore, candidates])


def digest(parts: Sequence[object]) -> bytes:
    """A key for anything that JSON can say."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()
