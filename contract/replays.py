"""Why an answer is made again, from documents in another order than it was made from."""

from enum import StrEnum


class Purpose(StrEnum):
    """What the trainer learns from it."""

    LEAVE_ONE_OUT = "leave_one_out"
    """Without one of the documents: what was that one worth to the answer?"""
    REFERENCE = "reference"
    """From the order of the base: what would the answer be worth had nothing been learned?"""
    PAIR = "pair"
    """From a candidate's order, compared with the answer from the champion's."""
