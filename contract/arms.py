"""Which of a line's two models answers a unit: a session, or a decision that belongs to none.

By hash under one salt for all lines and times: a session keeps its arm on every replica and at every share that holds
it, and as the share grows nobody leaves the canary.
"""

import hashlib
from typing import Final

from contract.records import Arm

_SALT: Final = b"canary"


def place(unit: bytes) -> float:
    """Where the unit stands in [0, 1), uniformly over units."""
    digest = hashlib.blake2b(unit, digest_size=6, salt=_SALT).digest()
    return int.from_bytes(digest, "big") / 2**48


def arm(unit: bytes, *, share: float) -> Arm:
    """Who answers the unit while a canary has that share."""
    return Arm.CANARY if place(unit) < share else Arm.CHAMPION
