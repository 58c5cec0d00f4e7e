"""Why an answer is made again, from documents in another order than it was made from."""

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """What the trainer learns from it."""

    LEAVE_ONE_OUT = "leave_one_out"
    """Without one of the documents: what was that one worth to the answer?"""
    REFERENCE = "reference"
    """From the order of the base: what would the answer be worth had nothing been learned?"""
    PAIR = "pair"
    """From a candidate's order, compared with the answer from the champion's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of one."""

    purpose: Purpose
    used: tuple[int, ...]
    """Request positions, in the order in which the LLM read them."""
    against: tuple[int, ...] | None
    """Those whose answer it was compared with."""
    value: float
    """In [0, 1], of the answer; of a pair 1 where it is the better one, 0 where the other is, .5 where neither is."""
