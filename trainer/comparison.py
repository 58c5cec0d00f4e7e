"""The gate's pairs: which answer the judge prefers, that from the champion's documents or that from the candidate's.

Of each gate query the newest decision is played. Where both models would use the same documents nothing is asked, and
neither wins. Queries are taken in the order of their hash up to the first that the budget cannot pay: which ones are
left out has nothing to do with what would have come of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import Connection

from contract.records import Decision
from contract.replays import Purpose
from trainer import replays
from trainer.evidence import Scores
from trainer.examples import Example
from trainer.replay import Played
from trainer.replays import Ask, Key
from trainer.splits import cluster

MAX_LACKING: Final = 0.1
"""Share of pairs that may be without a verdict because it came too late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What the LLM would read under each of the two models, as request positions, best first."""

    decision: Decision
    champion: tuple[int, ...]
    candidate: tuple[int, ...]
    cluster: int

    @property
    def key(self) -> Key:
        return self.decision.id, self.candidate, self.champion

    @property
    def is_changed(self) -> bool:
        return self.champion != self.candidate

    @property
    def ask(self) -> Ask:
        return Ask(
            decision=self.decision,
            purpose=Purpose.PAIR,
            used=self.candidate,
            against=self.champion,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Those that the budget reaches."""

    afforded: tuple[Pair, ...]
    unasked: int
    """Queries that it does not reach."""

    @property
    def changed(self) -> list[Pair]:
        return [pair for pair in self.afforded if pair.is_changed]

    def played(self, connection: Connection) -> Played | None:
        """By pair as `replays.compared`; None where too many are without a verdict."""
        won = replays.compared(connection, [pair.decision.id for pair in self.changed])
        counted = [pair for pair in self.afforded if not pair.is_changed or pair.key in won]
        lacking = len(self.afforded) - len(counted)
        if lacking > MAX_LACKING * len(self.changed):
            return None
        return Played(
            difference=np.array([won.get(pair.key, 0.0) for pair in counted], dtype=np.float64),
            cluster=np.array([pair.cluster for pair in counted], dtype=np.int64),
            queries=len(counted),
            changed=len(self.changed) - lacking,
            calls=len(self.changed),
            unasked=self.unasked + lacking,
        )


def pairs(examples: Iterable[Example], *, champion: Scores, candidate: Scores, most: int) -> Pairs:
    """By the files that serve.

    most: pairs that may be asked for.
    """
    newest = {each.query_sha256: each for each in sorted(examples, key=_age)}
    by_hash = [newest[sha256] for sha256 in sorted(newest)]
    afforded = tuple(_afforded(by_hash, champion=champion, candidate=candidate, most=most))
    return Pairs(afforded=afforded, unasked=len(by_hash) - len(afforded))


def _afforded(
    examples: Sequence[Example], *, champion: Scores, candidate: Scores, most: int
) -> Iterator[Pair]:
    asked = 0
    for example in examples:
        pair = Pair(
            decision=example.decision,
            champion=replays.first_used(example, champion),
            candidate=replays.first_used(example, candidate),
            cluster=cluster(example.query_sha256),
        )
        asked += pair.is_changed
        if asked > most:
            return
        yield pair


def _age(example: Example) -> int:
    return example.decision.id.int
