"""What an LLM read and cited, found in its prompt and its answer. Does no I/O.

Apps filter, cut and reorder what a reranker gives them. The prompt is the one place that says what was used.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

HEAD: Final = 200
"""A document whose end was cut off is known by this many characters."""

_MARK: Final = re.compile(r"\[\d{1,4}(?:\s*,\s*\d{1,4})*\]")

Cited: TypeAlias = Callable[[str, int], Sequence[int]]
"""From an answer and the number of documents in its prompt: the places, from 0, of those that it cites."""

_Document: TypeAlias = tuple[str, int]
"""Decision and request position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A ranking as it was handed to the app, best first."""

    decision_id: str
    positions: tuple[int, ...]
    """In the request."""
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One call of an LLM that was answered."""

    prompt: str
    answer: str
    model: str | None
    at: datetime
    """When the answer was complete."""
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one decision."""

    decision_id: str
    used: list[int]
    """Request positions, in the prompt's order."""
    citations: list[int] | None
    """Request positions. None where the answer cites nothing: it may not have been asked to."""
    reading: Reading
    """The call that wrote the answer."""
    calls: tuple[Reading, ...]
    """All that read one of its documents, and the one that wrote the answer."""


def reports(shown: Sequence[Shown], readings: Sequence[Reading], *, cited: Cited) -> list[Report]:
    """One for each decision of a run whose documents an LLM read.

    The answer is that of the first call that read them all: later ones check it, or ask what to do next. Where they
    were read piece by piece (refine, map-reduce), the last call of the run wrote it. Calls that only ask for tools, and
    those that saw no document, as when a question is rephrased, are no answer.

    readings: in the order in which they began.
    """
    documents = [(each.decision_id, position) for each in shown for position in each.positions]
    texts = [text for each in shown for text in each.texts]
    read = [
        (reading, [documents[place] for place in places(reading.prompt, texts)])
        for reading in readings
        if reading.answer.strip()
    ]
    found = (_report(each.decision_id, read, cited=cited) for each in shown)
    return [report for report in found if report is not None]


def places(prompt: str, texts: Sequence[str]) -> list[int]:
    r"""Which of the texts a prompt holds, as their indices, in the prompt's order.

    White space does not matter. A text inside a longer one counts only where it stands alone as well, and one whose
    end was cut off counts by its first `HEAD` characters.

    >>> places("1: The warranty is two years. 2: Ask us.", ["Ask us.", "One year.", "The warranty\nis two years."])
    [2, 0]
    """
    rest = _plain(prompt)
    plain = [_plain(text) for text in texts]
    longest_first = sorted(range(len(texts)), key=lambda place: -len(plain[place]))
    found: dict[int, int] = {}
    for length in (None, HEAD):
        for place in longest_first:
            wanted = plain[place][:length]
            at = -1 if place in found or not wanted else rest.find(wanted)
            if at >= 0:
                found[place] = at
                rest = rest[:at] + "\0" * len(wanted) + rest[at + len(wanted) :]
    return sorted(found, key=found.__getitem__)


def cited(answer: str, documents: int) -> list[int]:
    """The places, from 0, of the documents that an answer cites, each once.

    `[2]`, or `[1, 3]`, names the n-th document of the prompt, from 1. Numbers that name none are left out.

    >>> cited("Two years [2]. Ask us to be sure [1, 9].", 3)
    [1, 0]
    """
    numbers = [int(number) for mark in _MARK.findall(answer) for number in re.findall(r"\d+", mark)]
    return [number - 1 for number in dict.fromkeys(numbers) if 1 <= number <= documents]


def _report(
    decision_id: str, read: Sequence[tuple[Reading, list[_Document]]], *, cited: Cited
) -> Report | None:
    mine = [each for each in read if _of(decision_id, each[1])]
    if not mine:
        return None
    everything = list(dict.fromkeys(document for _, documents in mine for document in documents))
    reading, numbered = mine[0]
    if set(_of(decision_id, numbered)) != set(_of(decision_id, everything)):
        reading, numbered = read[-1][0], everything
    named = [numbered[place] for place in cited(reading.answer, len(numbered))]
    return Report(
        decision_id=decision_id,
        used=_of(decision_id, numbered),
        citations=_of(decision_id, named) if named else None,
        reading=reading,
        calls=(*(call for call, _ in mine), reading),
    )


def _of(decision_id: str, documents: Sequence[_Document]) -> list[int]:
    return [position for id_, position in documents if id_ == decision_id]


def _plain(text: str) -> str:
    return " ".join(text.split())
