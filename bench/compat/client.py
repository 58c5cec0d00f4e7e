"""What a case is given, and what a client must be able to do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

Ranking: TypeAlias = list[tuple[int, float]]
"""Request positions with their scores, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Two live services, something to rank, and what `/v1/rerank` says of it."""

    url: str
    """Of the service that asks for a key."""
    key: str
    most: int
    """How many documents they take."""
    open_url: str
    """Of the service that asks for no key, and refuses a second request while one waits."""
    query: str
    documents: list[str]
    ranking: Ranking
    logits: Ranking
    """The same, with raw scores."""

    @property
    def call(self) -> "Call":
        return Call(url=self.url, key=self.key, query=self.query, documents=self.documents)

    @property
    def open_call(self) -> "Call":
        return replace(self.call, url=self.open_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One ranking for a client to ask for; `url` has no path and no slash at its end."""

    url: str
    key: str
    query: str
    documents: list[str]

    def place(self, text: str, score: float | None) -> tuple[int, float]:
        """A document that a client gave back without its position."""
        if score is None:
            raise ValueError("a document came back without a score")
        return self.documents.index(text), score


@dataclass(frozen=True, slots=True, kw_only=True)
class Raises:
    """How a client tells its caller of a refusal."""

    kind: type[BaseException]
    says: str = ""
    """What its message has of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One way to use a package; every case of `cases` is run with each."""

    name: str
    version: str
    """Of its package, or where its requests were recorded."""
    rank: Callable[[Call], Ranking]
    """Asks for all documents."""
    unauthorized: Raises
    too_many: Raises
    overloaded: Raises | None = None
    """None where the client waits and asks again by itself."""
    gives_logits: bool = False
    sends_key: bool = True
