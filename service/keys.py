"""API keys: what they look like, what they may do, and the little that is stored of them.

    rl_ <12 hex digits: the key's id> _ <64 hex digits: its secret>

Stored is an HMAC under the service's own secret: who reads the database holds no key, and who writes it makes none.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

PREFIX: Final = "rl_"

_FORM: Final = re.compile(r"rl_([0-9a-f]{12})_([0-9a-f]{64})")


class Scope(StrEnum):
    """What a key may do with what is its tenant's."""

    RERANK = "rerank"
    """Rank, say what the LLM did, and read the decisions again."""
    FEEDBACK = "feedback"
    """Say what the LLM did and how good it was, take that back, and read the decisions."""
    JUDGE = "judge"
    """Lease answers that wait for a verdict, and post it."""
    OPERATE = "operate"
    """See and steer the lines of models, which all tenants share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key in the hands of its holder."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What the holder sends."""
        return f"{PREFIX}{self.key_id}_{self.secret}"

    def digest(self, pepper: bytes) -> bytes:
        """HMAC-SHA256 of the whole key, so that one row's digest is of no use in another."""
        return hmac.digest(pepper, f"api key {self.text}".encode(), hashlib.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is stored of a key, as far as a request needs it."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
    secret_hmac: bytes
    expires_at: datetime | None

    def admits(self, key: ApiKey, *, pepper: bytes, now: datetime) -> bool:
        """Whether this is the key, in constant time, and it has not expired."""
        is_in_time = self.expires_at is None or now < self.expires_at
        return hmac.compare_digest(key.digest(pepper), self.secret_hmac) and is_in_time


def mint() -> ApiKey:
    """A new key."""
    return ApiKey(key_id=secrets.token_hex(6), secret=secrets.token_hex(32))


def parse(text: str) -> ApiKey | None:
    """The key that was sent, if it has the form of one."""
    found = _FORM.fullmatch(text)
    return None if found is None else ApiKey(key_id=found[1], secret=found[2])
