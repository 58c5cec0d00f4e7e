"""The prompt that the application sends to its reader, and how the simulated reader finds its way in it."""

import re
from collections.abc import Sequence
from typing import Final

INSTRUCTION: Final = (
    "Answer the question from the passages alone, in as few words as possible."
    " End with the number of the passage that says so, like [2]."
    " Say 'not stated' where they do not tell."
)

_PASSAGE: Final = re.compile(r"^\[\d+\] ", flags=re.MULTILINE)
_CITATION: Final = re.compile(r"\s*\[(\d+)\]")
_QUESTION: Final = "\n\nQuestion: "


def build(question: str, used: Sequence[str]) -> str:
    """The user's message: numbered passages, then the question."""
    passages = "\n\n".join(f"[{place}] {text}" for place, text in enumerate(used, start=1))
    return f"{passages}{_QUESTION}{question}"


def parse(message: str) -> tuple[str, list[str]]:
    """Question and passages of a message that `build` made.

    >>> parse(build("When?", ["Now.", "Later."]))
    ('When?', ['Now.', 'Later.'])
    """
    passages, _, question = message.rpartition(_QUESTION)
    return question, [text.removesuffix("\n\n") for text in _PASSAGE.split(passages)[1:]]


def cite(answer: str, place: int) -> str:
    """The reader's message: an answer with the number of the passage that it comes from."""
    return f"{answer} [{place}]"


def cited(message: str, *, used: int) -> tuple[str, list[int]]:
    """The answer alone, and the places of the passages that it names, from 1; those that do not exist aside.

    >>> cited(cite("14 days", 2), used=3)
    ('14 days', [2])
    """
    places = [int(number) for number in _CITATION.findall(message)]
    known = [place for place in dict.fromkeys(places) if 1 <= place <= used]
    return _CITATION.sub("", message).strip(), known
