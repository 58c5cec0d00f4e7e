"""Whose answers a round learns from: those of the readers that still answer.

What a document was worth to a language model that is gone says little of what it is worth to the one after it. An app
says which one answered (`model` of an answer); where it says nothing, nothing is left out.
"""

from collections.abc import Sequence
from typing import Final

from trainer.examples import Example

NEWEST: Final = 200
"""A reader that made none of so many answers with a name is gone."""


def of_today(examples: Sequence[Example]) -> list[Example]:
    """Those of readers that still answer, and those of which nobody said who answered.

    examples: oldest first.
    """
    named = [example.reader for example in examples if example.reader is not None]
    present = set(named[-NEWEST:])
    return [each for each in examples if each.reader is None or each.reader in present]
