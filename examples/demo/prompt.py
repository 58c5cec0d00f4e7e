"""The prompt that the application sends to its reader, and how the simulated reader finds its way in it."""

import re
from collections.abc import Sequence
from typing import Final

INSTRUCTION: Final = (
    "Answer the question from the passages alone, in as few words as possible."
    " Say 'not stated' where they do not tell."
)

_PASSAGE: Final = re.compile(r"^\[\d+\] ", flags=re.MULTILINE)
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
