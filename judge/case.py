"""What is judged: a question, what was read, and what was answered."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One answer, and all that a judge may know of it: neither ranks nor scores, nor which model ranked."""

    query: str
    documents: Sequence[str]
    """In the order of the prompt that was answered."""
    answer: str
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


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
