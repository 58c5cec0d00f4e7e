"""What a reader is given: two worked examples, the passages in their order, and the question.

It fits a model that only completes text as well as one that chats. An answer is known by the hash of its prompt, so
another word here is another question to the reader.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

MAX_PASSAGE: Final = 900
"""Characters of a passage that the reader sees: a small model reads slowly."""

_EXAMPLES: Final = """Answer each question with a few words of its passage.

Passage: The harbour of Skagen was finished in 1907. Until then boats were pulled up on the beach.
Question: When was the harbour of Skagen finished?
Answer: 1907

Passage: The old miller gave his youngest son a lantern, and told him never to put it out before the ninth bridge.
Question: What did the miller give his youngest son?
Answer: a lantern
"""


def build(question: str, passages: Sequence[str]) -> str:
    """The prompt; its answer is the rest of the last line.

    >>> build("When?", ["Now.", "Later."]).splitlines()[-4:]
    ['Passage: Now.', 'Passage: Later.', 'Question: When?', 'Answer:']
    """
    shown = "".join(f"Passage: {' '.join(text[:MAX_PASSAGE].split())}\n" for text in passages)
    return f"{_EXAMPLES}\n{shown}Question: {question.strip()}\nAnswer:"


def sha256(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()
