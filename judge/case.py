"""What is judged: a question, what was read, and what was answered, once or by two who compete."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question with its documents."""

    query: str
    documents: Sequence[str]
    """In the order of the prompt that was answered."""
    reference: str | None = None
    """The right answer, where one is known."""

    def presentation(self, replicate: int = 0) -> tuple[int, ...]:
        """The order in which the judge reads the documents, as places in `documents`.

        A hash of the texts gives it: it tells nothing of their ranks, and is the same whenever the same texts come
        again. Every other replicate reads them the other way round.
        """
        places = sorted(
            range(len(self.documents)),
            key=lambda place: _digest(self.query, self.documents[place]),
        )
        return tuple(places[::-1] if replicate % 2 else places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case(_Asked):
    """One answer, and all that a judge may know of it: neither ranks nor scores, nor which model ranked."""

    answer: str

    @property
    def answers(self) -> Mapping[str, str]:
        """By what the judge's prompt calls it."""
        return {"answer": self.answer}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(_Asked):
    """Two answers that may be compared; `documents` are those of both, each once."""

    answer: str
    """Which is presented as A."""
    rival: str
    """Which is presented as B."""

    @property
    def answers(self) -> Mapping[str, str]:
        """By what the judge's prompt calls them."""
        return {"answer A": self.answer, "answer B": self.rival}

    @property
    def leads(self) -> bool:
        """Whether `answer` comes before its rival by a hash of the texts, whoever wrote them."""
        return _digest(self.query, self.answer) < _digest(self.query, self.rival)

    def swapped(self) -> Self:
        """The same two in each other's place."""
        return replace(self, answer=self.rival, rival=self.answer)


Subject: TypeAlias = Case | Comparison
"""What the LLM is asked about at once."""


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
