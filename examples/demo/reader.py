"""The simulated reader: it answers from the first used passage that states an answer."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from examples.demo import endpoint, prompt
from examples.demo.grading import NOT_STATED
from examples.demo.worlds import Read

MODEL: Final = "simulated-reader"


def running(read: Read) -> AbstractContextManager[str]:
    """The reader behind an endpoint of its own; yields its base URL."""
    return endpoint.running(partial(said, read))


def said(read: Read, message: str) -> str:
    """The answer of the first passage that states one, which it cites."""
    question, used = prompt.parse(message)
    for place, text in enumerate(used, start=1):
        answer = read(question, [text])
        if answer != NOT_STATED:
            return prompt.cite(answer, place)
    return NOT_STATED
