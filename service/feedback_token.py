"""Feedback tokens: with one, a browser speaks of a single decision for a while, and needs no key.

rlf_ base64url( decision's id, 16 bytes | expiry in Unix s, 8 bytes | tenant | HMAC-SHA256 of these, 32 bytes )
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

PREFIX: Final = "rlf_"

_ID_BYTES: Final = 16
_TIME_BYTES: Final = 8
_CODE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token allows: feedback about one decision of one tenant."""

    decision_id: UUID
    tenant: str


def mint(decision_id: UUID, tenant: str, *, secret: bytes, expires_at: datetime) -> str:
    """A token that nobody else can make, good until then."""
    seconds = int(expires_at.timestamp()).to_bytes(_TIME_BYTES, "big")
    said = decision_id.bytes + seconds + tenant.encode()
    encoded = base64.urlsafe_b64encode(said + _code(said, secret))
    return PREFIX + encoded.decode().rstrip("=")


def verify(token: str, *, secret: bytes, now: datetime) -> Grant | None:
    """What the token allows; nothing if it is not ours or its time is over."""
    sealed = _decoded(token.removeprefix(PREFIX))
    said, code = sealed[:-_CODE_BYTES], sealed[-_CODE_BYTES:]
    if not hmac.compare_digest(code, _code(said, secret)):
        return None
    seconds = said[_ID_BYTES : _ID_BYTES + _TIME_BYTES]
    if now.timestamp() >= int.from_bytes(seconds, "big"):
        return None
    return Grant(
        decision_id=UUID(bytes=said[:_ID_BYTES]), tenant=said[_ID_BYTES + _TIME_BYTES :].decode()
    )


def _decoded(text: str) -> bytes:
    """Empty for what is no base64."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _code(said: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, b"feedback token " + said, hashlib.sha256)
