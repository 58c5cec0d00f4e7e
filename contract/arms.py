"""Which of a line's models answers a unit: a session, or a decision that belongs to none.

By hash under one salt for all lines and times: a session keeps its arm on every replica and at every share that holds
it. The canary takes from one end of [0, 1), the base that is held back from the other: as a share grows nobody leaves
it, and nobody goes from one of the two to the other.
"""

import hashlib
from typing import Final

from contract.records import Arm

_SALT: Final = b"canary"


def place(unit: bytes) -> float:
    """Where the unit stands in [0, 1), uniformly over units."""
    digest = hashlib.blake2b(unit, digest_size=6, salt=_SALT).digest()
    return int.from_bytes(digest, "big") / 2**48


def arm(unit: bytes, *, canary: float = 0.0, hold_back: float = 0.0) -> Arm:
    """Who answers the unit at these shares, which sum to 1 at most."""
    stands = place(unit)
    if stands < canary:
        return Arm.CANARY
    return Arm.HOLD_BACK if stands >= 1 - hold_back else Arm.CHAMPION
