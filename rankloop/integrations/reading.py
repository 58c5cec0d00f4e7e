"""What an LLM read and cited, found in its prompt and its answer. Does no I/O.

Apps filter, cut and reorder what a reranker gives them. The prompt is the one place that says what was used.
"""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

HEAD: Final = 200
"""A text whose end was cut off is known by this many characters."""
MIN_LETTERS: Final = 4
"""An answer with fewer is found in a later prompt by chance: it is `yes`, or a score."""
MAX_CARRIED: Final = 64
"""So many different answers are looked for in a later prompt, the newest; and so many calls that gave the same one."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """A call that documents reached."""

    reading: Reading
    own: list[_Document]
    """Those in its prompt, in the prompt's order."""
    carried: list[list["_Call"]]
    """For each earlier answer in its prompt, the calls that gave it."""
    read: list[_Document]
    """Its own, after those that the answers in its prompt were made from."""

    @property
    def numbered(self) -> list[_Document]:
        """What its citations count: its own, unless earlier answers brought more."""
        return self.own if set(self.own) == set(self.read) else self.read


def reports(shown: Sequence[Shown], readings: Sequence[Reading], *, cited: Cited) -> list[Report]:
    """One for each decision of a run whose documents an LLM read.

    The answer is that of the last call that documents reached: those before it graded them, or read the first pieces
    (refine, map-reduce). Documents reach a call in its prompt, or in an earlier answer that its prompt holds; other
    calls, as when a question is rephrased, are no answer. Nor are those that only ask for tools, and checks and titles:
    they have an answer before them, and nothing to read that it was not made from.

    readings: in the order in which they began.
    """
    documents = [(each.decision_id, position) for each in shown for position in each.positions]
    calls = _calls(readings, documents, [_plain(text) for each in shown for text in each.texts])
    found = (_report(each.decision_id, calls, cited=cited) for each in shown)
    return [report for report in found if report is not None]


def places(prompt: str, texts: Sequence[str]) -> list[int]:
    r"""Which of the texts a prompt holds, as their indices, in the prompt's order.

    White space does not matter. A text inside a longer one counts only where it stands alone as well, and one whose
    end was cut off counts by its first `HEAD` characters.

    >>> places("1: The warranty is two years. 2: Ask us.", ["Ask us.", "One year.", "The warranty\nis two years."])
    [2, 0]
    """
    found, _ = _search(_plain(prompt), [_plain(text) for text in texts])
    return found


def cited(answer: str, documents: int) -> list[int]:
    """The places, from 0, of the documents that an answer cites, each once.

    `[2]`, or `[1, 3]`, names the n-th document of the prompt, from 1. Numbers that name none are left out.

    >>> cited("Two years [2]. Ask us to be sure [1, 9].", 3)
    [1, 0]
    """
    numbers = [int(number) for mark in _MARK.findall(answer) for number in re.findall(r"\d+", mark)]
    return [number - 1 for number in dict.fromkeys(numbers) if 1 <= number <= documents]


def _calls(
    readings: Sequence[Reading], documents: Sequence[_Document], texts: Sequence[str]
) -> list[_Call]:
    """Those that documents reached, in their order."""
    calls: list[_Call] = []
    said: dict[str, list[_Call]] = {}
    for reading in readings:
        answer, earlier = _plain(reading.answer), [*said][-MAX_CARRIED:]
        if not answer:
            continue
        found, rest = _search(_plain(reading.prompt), [*texts, *earlier])
        own = [documents[place] for place in found if place < len(texts)]
        carried = [
            said[earlier[place - len(texts)]] for place in sorted(found) if place >= len(texts)
        ]
        if own or carried:
            call = _call(reading, own, carried)
            calls.append(call)
            if answer in said or _is_text(answer, rest):
                said[answer] = [*said.get(answer, ()), call][-MAX_CARRIED:]
    return calls


def _call(reading: Reading, own: list[_Document], carried: list[list[_Call]]) -> _Call:
    brought = (document for calls in carried for call in calls for document in call.read)
    read = list(dict.fromkeys([*brought, *own]))
    return _Call(reading=reading, own=own, carried=carried, read=read)


def _search(prompt: str, texts: Sequence[str]) -> tuple[list[int], str]:
    """Which of the texts the prompt holds, in its order, and what is left of it without them."""
    longest_first = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
    found: dict[int, int] = {}
    for length in (None, HEAD):
        for place in longest_first:
            wanted = texts[place][:length]
            at = -1 if place in found or not wanted else prompt.find(wanted)
            if at >= 0:
                found[place] = at
                prompt = prompt[:at] + "\0" * len(wanted) + prompt[at + len(wanted) :]
    return sorted(found, key=found.__getitem__), prompt


def _is_text(answer: str, rest: str) -> bool:
    """Whether an answer can be known again in a later prompt.

    A verdict cannot: it is too short, or a word that its own instructions say.

    rest: of the prompt, without the documents and the earlier answers.
    """
    letters = sum(character.isalpha() for character in answer)
    words = answer.strip(string.punctuation).casefold()
    return letters >= MIN_LETTERS and words not in rest.casefold()


def _report(decision_id: str, calls: Sequence[_Call], *, cited: Cited) -> Report | None:
    read = [call for call in calls if _of(decision_id, call.read)]
    written = [call for call in read if not _is_check(decision_id, call)]
    if not written:
        return None
    call = written[-1]
    named = [call.numbered[place] for place in cited(call.reading.answer, len(call.numbered))]
    return Report(
        decision_id=decision_id,
        used=_of(decision_id, call.numbered),
        citations=_of(decision_id, named) if named else None,
        reading=call.reading,
        calls=tuple(each.reading for each in read),
    )


def _is_check(decision_id: str, call: _Call) -> bool:
    """Whether it has one earlier answer about this decision, and nothing to read that this one was not made from."""
    read = set(_of(decision_id, call.read))
    reads = [[set(_of(decision_id, each.read)) for each in calls] for calls in call.carried]
    answers = [known for known in reads if any(known)]
    return len(answers) == 1 and any(read <= known for known in answers[0])


def _of(decision_id: str, documents: Sequence[_Document]) -> list[int]:
    return [position for id_, position in documents if id_ == decision_id]


def _plain(text: str) -> str:
    return " ".join(text.split())
