"""Decision ids: UUIDv7, which sort by time, with a code that says we minted them for that tenant.

    48 bits Unix time in ms | version 7 | 12 random bits | variant | 22 random bits | 40 bits
    HMAC-SHA256

The code lets feedback be checked before its decision has landed in Postgres.
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from uuid import UUID

_CODE_BITS = 40


def mint(tenant: str, *, secret: bytes, now: datetime) -> UUID:
    """A new decision id for this tenant."""
    milliseconds = int(now.timestamp() * 1000)
    head = (milliseconds << 80) | (7 << 76) | (secrets.randbits(12) << 64)
    head |= (0b10 << 62) | (secrets.randbits(22) << _CODE_BITS)
    return UUID(int=head | _code(head, tenant, secret))


def is_ours(decision_id: UUID, tenant: str, *, secret: bytes) -> bool:
    """Whether this id was minted by `mint` for this tenant; chance passes one forgery in 2**40."""
    head = (decision_id.int >> _CODE_BITS) << _CODE_BITS
    claimed = decision_id.int - head
    return hmac.compare_digest(_bytes(claimed), _bytes(_code(head, tenant, secret)))


def minted_at(decision_id: UUID) -> datetime:
    """When the id was made, to the millisecond."""
    return datetime.fromtimestamp((decision_id.int >> 80) / 1000, tz=UTC)


def earliest(at: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond, as a value, so that the planner prunes partitions by it."""
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (0b10 << 62))


def _code(head: int, tenant: str, secret: bytes) -> int:
    digest = hmac.digest(secret, head.to_bytes(16, "big") + tenant.encode(), hashlib.sha256)
    return int.from_bytes(digest[: _CODE_BITS // 8], "big")


def _bytes(code: int) -> bytes:
    return code.to_bytes(_CODE_BITS // 8, "big")
