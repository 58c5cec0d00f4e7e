"""What the apps know of an espresso machine, and what an LLM says that stands in for a real one: no key, no network."""

import re
import sys
from typing import Final

PASSAGES: Final = (
    "The espresso machine descales itself when the blue light blinks twice; pour in the tablet first.",
    "Beans keep for six weeks in the hopper. After that the grinder asks to be emptied.",
    "The warranty of the espresso machine is three years, five with a registered serial number.",
    "Milk foam collapses above 70 degrees; the wand stops at 62 by itself.",
    "Until last year the warranty of the espresso machine was two years.",
    "Spare parts are sold by the shop in the arcade, Tuesdays to Saturdays.",
)
SCORES: Final = (6.1, 5.5, 5.2, 4.0, 3.9, 1.2)
"""Of the first stage, which these apps do without: it finds everything, always in this order."""

QUESTION: Final = "How long is the warranty of the espresso machine?"
URL: Final = "http://127.0.0.1:8000"

INSTRUCTION: Final = "Answer from the numbered passages alone, and name their numbers like [2]."

_PASSAGE: Final = re.compile(r"^(?:\[|Source )(\d+)(?:\] |:\n)(.*)$", flags=re.MULTILINE)


def numbered(texts: list[str]) -> str:
    """Passages as the prompt has them."""
    return "\n".join(f"[{place}] {text}" for place, text in enumerate(texts, start=1))


def reply(prompt: str) -> str:
    """What the stand-in says: the first passage about a warranty, and its number."""
    for place, text in _PASSAGE.findall(prompt):
        if "warranty" in text:
            return f"{text} [{place}]"
    return "Not stated."


def url() -> str:
    """Where the service answers: the first argument."""
    return sys.argv[1] if len(sys.argv) > 1 else URL
