"""Stores what the gate said of a candidate, all of it at once, and reads it back when a round is taken up again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, insert, select

from contract.tables import evaluations
from trainer.gate import Answer, Kind, Verdict
from trainer.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The stored answer on which a candidate stands or falls: the first that is no pass, else the last."""

    evaluation_id: UUID
    version: str
    kind: Kind
    answer: Answer
    reason: str
    low: float | None


def record(connection: Connection, run: Run, version: str, verdicts: Sequence[Verdict]) -> None:
    """In the order in which they were given."""
    for verdict in verdicts:
        row = asdict(verdict)
        row["verdict"] = row.pop("answer")
        connection.execute(
            insert(evaluations).values(
                evaluation_id=uuid4(),
                run_id=run.id,
                line=run.window.line,
                version=version,
                champion=run.champion,
                **row,
            )
        )


def judgement(connection: Connection, run: Run, version: str) -> Judgement | None:
    """What was decided of this candidate in this round; None before it was judged."""
    statement = select(evaluations).where(
        evaluations.c.run_id == run.id, evaluations.c.version == version
    )
    found = {Kind(row.kind): row for row in connection.execute(statement)}
    in_order = [found[kind] for kind in Kind if kind in found]
    if not in_order:
        return None
    return _judgement(next((row for row in in_order if row.verdict != Answer.PASS), in_order[-1]))


def _judgement(row: Row[Any]) -> Judgement:
    return Judgement(
        evaluation_id=row.evaluation_id,
        version=row.version,
        kind=Kind(row.kind),
        answer=Answer(row.verdict),
        reason=row.reason,
        low=row.low,
    )
