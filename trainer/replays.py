"""Answers that the judge makes again from another order of the documents: what is asked for, and what came of it.

Nothing is shown to users. The judge takes what is asked here from the service, as long as its budget lasts.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from contract import plackett_luce, quarantine
from contract.columns import as_xid
from contract.records import Decision
from contract.replays import Purpose
from contract.tables import replays
from trainer.evidence import Scores
from trainer.examples import Example, Replayed
from trainer.scoring import on_a_cpu

Key: TypeAlias = tuple[UUID, tuple[int, ...], tuple[int, ...]]
"""Of a pair: decision, used and against."""

CHUNK: Final = 2_000
"""Decisions looked up in one statement."""
LOST: Final = -1.0
TOO_LATE: Final = "the round that asked waits no longer"

_ANEW: Final = {
    "attempts": 0,
    "lease_id": None,
    "expires_at": None,
    "error": None,
    "judge": None,
    "done_at": None,
    "done_xid": None,
}
"""Of a row, what was before it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One answer to make again, or two to compare."""

    decision: Decision
    purpose: Purpose
    used: tuple[int, ...]
    """Request positions, in the order in which the LLM shall read them."""
    against: tuple[int, ...] | None = None
    """Those whose answer it is compared with."""


def leave_one_out(examples: Iterable[Example], *, share: float) -> Iterator[Ask]:
    """For so large a share of the decisions, drawn by hash: the prompt without each of its documents in turn."""
    for example in examples:
        used = _used(example)
        if len(used) > 1 and _is_drawn(example, Purpose.LEAVE_ONE_OUT, share):
            for place in range(len(used)):
                yield Ask(
                    decision=example.decision,
                    purpose=Purpose.LEAVE_ONE_OUT,
                    used=used[:place] + used[place + 1 :],
                )


def reference(examples: Iterable[Example], base: Scores, *, share: float) -> Iterator[Ask]:
    """For so large a share: the base's greedy order, as many of it as were used.

    Also where that is what was shown: a baseline that depended on what was shown would bias the gradient.
    """
    for example in examples:
        if _is_drawn(example, Purpose.REFERENCE, share):
            yield Ask(
                decision=example.decision,
                purpose=Purpose.REFERENCE,
                used=first_used(example, base),
            )


def first_used(example: Example, served: Scores) -> tuple[int, ...]:
    """The request positions that the LLM would read, were it this version that serves, best first."""
    decision = example.decision
    own = (decision.version, on_a_cpu(decision.precision)) == (served.version, served.precision)
    logits = decision.logits if own else served.logits(decision.query, decision.candidates)
    return tuple(plackett_luce.greedy(logits)[: example.used].tolist())


def ask(connection: Connection, asks: Iterable[Ask], *, run_id: UUID | None = None) -> int:
    """Returns how many are asked: what has a value has it, and what is open stays open.

    run_id: the round that waits for them. What ended without a value for an earlier one is asked again.
    """
    # Two candidates may order a decision alike, and no statement may write a row twice.
    once = {(each.decision.id, each.purpose, each.used, each.against): each for each in asks}
    rows = [_row(each, run_id) for each in once.values()]
    if not rows:
        return 0
    new = insert(replays)
    statement = new.on_conflict_do_update(
        constraint="replays_asked_once",
        set_=_ANEW | {"run_id": new.excluded.run_id, "asked_at": func.now()},
        where=new.excluded.run_id.is_not(None)
        & replays.c.done_at.is_not(None)
        & replays.c.value.is_(None),
    )
    return len(connection.execute(statement.returning(replays.c.replay_id), rows).all())


def is_awaited(connection: Connection, run_id: UUID) -> bool:
    """Whether any that the round asked for is still to come."""
    mine = select(replays.c.replay_id).where(_open(run_id))
    return bool(connection.execute(select(mine.exists())).scalar_one())


def close(connection: Connection, run_id: UUID) -> int:
    """Takes back what the round asked for and did not get.  Returns how many."""
    statement = (
        update(replays)
        .where(_open(run_id))
        .values(error=TOO_LATE, done_at=func.now(), done_xid=func.pg_current_xact_id())
    )
    return connection.execute(statement).rowcount


def heard(
    connection: Connection, decision_ids: Sequence[UUID], *, before: int
) -> Mapping[UUID, list[Replayed]]:
    """What came of those that teach, by decision, without what a judge in quarantine said.

    before: the transaction from which on nothing is read.
    """
    statement = (
        select(replays)
        .where(
            replays.c.decision_id.in_(decision_ids),
            replays.c.purpose != Purpose.PAIR.value,
            replays.c.value.is_not(None),
            replays.c.done_xid < as_xid(before),
            replays.c.replay_id.not_in(quarantine.spoilt(decision_ids)),
        )
        .order_by(replays.c.decision_id, replays.c.replay_id)
    )
    rows = connection.execute(statement).all()
    return {
        decision_id: list(map(_replayed, group))
        for decision_id, group in groupby(rows, key=lambda row: row.decision_id)
    }


def compared(connection: Connection, decision_ids: Sequence[UUID]) -> Mapping[Key, float]:
    """What came of their pairs: 1 for one that was won, -1 for one that was lost, 0 for neither.

    One that ended with an error is lost: what keeps an answer from being made or judged may be what the candidate
    brought up, such as a document that speaks to the judge. Absent is what is open, too late or said in quarantine.
    """
    found: dict[Key, float] = {}
    for start in range(0, len(decision_ids), CHUNK):
        chunk = decision_ids[start : start + CHUNK]
        statement = select(replays).where(
            replays.c.decision_id.in_(chunk),
            replays.c.purpose == Purpose.PAIR.value,
            replays.c.done_at.is_not(None),
            func.coalesce(replays.c.error, "") != TOO_LATE,
            replays.c.replay_id.not_in(quarantine.spoilt(chunk)),
        )
        for row in connection.execute(statement):
            key = (row.decision_id, tuple(row.used), tuple(row.against))
            found[key] = LOST if row.value is None else 2 * row.value - 1
    return found


def _open(run_id: UUID) -> ColumnElement[bool]:
    return (replays.c.run_id == run_id) & replays.c.done_at.is_(None)


def _row(each: Ask, run_id: UUID | None) -> dict[str, object]:
    return {
        "replay_id": uuid4(),
        "tenant": each.decision.tenant,
        "line": each.decision.line,
        "decision_id": each.decision.id,
        "purpose": each.purpose.value,
        "used": list(each.used),
        "against": None if each.against is None else list(each.against),
        "run_id": run_id,
    }


def _replayed(row: Row[tuple[object, ...]]) -> Replayed:
    return Replayed(purpose=Purpose(row.purpose), used=tuple(row.used), value=row.value)


def _used(example: Example) -> tuple[int, ...]:
    return tuple(example.decision.choice.shown[: example.used].tolist())


def _is_drawn(example: Example, purpose: Purpose, share: float) -> bool:
    digest = hashlib.blake2b(
        example.decision.id.bytes, digest_size=6, person=purpose.value.encode()
    ).digest()
    return int.from_bytes(digest, "big") < share * 2**48
