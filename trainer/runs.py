"""The memory of a round: what it reads, how it is seeded and how far it has come, so that it can be taken up again."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, Select, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from contract.refusals import Refusal
from contract.rewards import RewardSpec
from contract.tables import evaluations, model_versions, training_runs
from trainer.examples import Skipped
from trainer.join import Window


class ClusterChanged(Refusal):
    """The transaction ids of earlier rounds are of another cluster, as after a restore: set a new reward spec."""


class Status(StrEnum):
    """What became of a round."""

    RUNNING = "running"
    PROMOTED = "promoted"
    CANARY = "canary"
    REJECTED = "rejected"
    FAILED = "failed"
    NOTHING_TO_LEARN = "nothing_to_learn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One round."""

    id: UUID
    champion: str
    """The version that it starts from and compares with."""
    window: Window
    seed: int
    progress: Mapping[str, Any]
    """What was noted of it so far."""

    @property
    def attempts(self) -> int:
        """How often it was begun."""
        return int(self.progress.get("attempts", 0))


def unfinished(connection: Connection, line: str) -> Run | None:
    """The round that was cut off."""
    statement = (
        select(training_runs)
        .where(training_runs.c.line == line, training_runs.c.status == "running")
        .order_by(training_runs.c.started_at)
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _run(row)


def start(
    connection: Connection,
    window: Window,
    *,
    champion: str,
    token: int,
    seed: int,
    config: Mapping[str, Any],
) -> Run:
    """Notes the window before anything is read from it."""
    statement = (
        insert(training_runs)
        .values(
            run_id=uuid4(),
            line=window.line,
            champion=champion,
            fencing_token=token,
            config=dict(config),
            seed=seed,
            spec_id=window.spec_id,
            spec_version=window.spec_version,
            xid_from=window.xid_from,
            xid_to=window.xid_to,
            system_identifier=_system_identifier(connection),
        )
        .returning(training_runs)
    )
    return _run(connection.execute(statement).one())


def attempt(connection: Connection, run: Run) -> Run:
    """Counts that the round is taken up once more."""
    return note(connection, run, {"attempts": run.attempts + 1})


def note(connection: Connection, run: Run, found: Mapping[str, Any]) -> Run:
    """Adds to what is known of the round."""
    statement = (
        update(training_runs)
        .where(training_runs.c.run_id == run.id)
        .values(metrics=training_runs.c.metrics.op("||")(literal(dict(found), JSONB())))
        .returning(training_runs)
    )
    return _run(connection.execute(statement).one())


def count(
    connection: Connection, run: Run, *, decisions: int, skipped: Mapping[Skipped, int]
) -> None:
    """How many decisions the round learns from, and why not from the others."""
    connection.execute(
        update(training_runs)
        .where(training_runs.c.run_id == run.id)
        .values(
            n_decisions=decisions,
            skipped={reason.value: number for reason, number in skipped.items()},
        )
    )


def finish(
    connection: Connection,
    run: Run,
    *,
    status: Status,
    produced: str | None = None,
    error: str | None = None,
) -> None:
    """The end of a round, once."""
    connection.execute(
        update(training_runs)
        .where(training_runs.c.run_id == run.id, training_runs.c.status == Status.RUNNING.value)
        .values(status=status.value, produced=produced, error=error, ended_at=func.now())
    )


def born(connection: Connection, champion: str, spec: RewardSpec) -> int:
    """Where the window closed that the champion was trained on; 0 for a base.  Raises `ClusterChanged`."""
    statement = _ends(spec).join(model_versions, model_versions.c.run_id == training_runs.c.run_id)
    return _end(connection, statement.where(model_versions.c.version == champion))


def last_end(connection: Connection, line: str, spec: RewardSpec) -> int:
    """Where the last round's window closed, whatever became of it; 0 before the first.  Raises `ClusterChanged`."""
    return _end(connection, _ends(spec).where(training_runs.c.line == line))


def begun(connection: Connection, line: str) -> int:
    """How many rounds the line has had."""
    return connection.execute(_count(line)).scalar_one()


def decided(connection: Connection, line: str) -> int:
    """How many rounds came to a verdict; one that failed says nothing about how much the next one needs."""
    failed = training_runs.c.status == Status.FAILED.value
    return connection.execute(_count(line).where(~failed)).scalar_one()


def _count(line: str) -> Select[int]:
    return select(func.count()).select_from(training_runs).where(training_runs.c.line == line)


def evidence_spent(connection: Connection, run: Run) -> int:
    """How many earlier rounds asked whether something beats this champion, the log or a reader."""
    statement = select(func.count(func.distinct(evaluations.c.run_id))).where(
        evaluations.c.line == run.window.line,
        evaluations.c.champion == run.champion,
        evaluations.c.kind.in_(("offline", "replay")),
        evaluations.c.run_id != run.id,
    )
    return connection.execute(statement).scalar_one()


def _ends(spec: RewardSpec) -> Select[Any]:
    return (
        select(training_runs.c.xid_to, training_runs.c.system_identifier)
        .select_from(training_runs)
        .where(
            training_runs.c.spec_id == spec.id,
            training_runs.c.spec_version == spec.version,
        )
        .order_by(training_runs.c.xid_to.desc())
        .limit(1)
    )


def _end(connection: Connection, statement: Select[Any]) -> int:
    row = connection.execute(statement).one_or_none()
    if row is None:
        return 0
    if row.system_identifier != _system_identifier(connection):
        raise ClusterChanged("the last round ran on another database cluster")
    return int(row.xid_to)


def _system_identifier(connection: Connection) -> str:
    statement = text("SELECT system_identifier::text FROM pg_control_system()")
    return str(connection.execute(statement).scalar_one())


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.run_id,
        champion=row.champion,
        window=Window(
            line=row.line,
            spec_id=row.spec_id,
            spec_version=row.spec_version,
            xid_from=row.xid_from,
            xid_to=row.xid_to,
        ),
        seed=row.seed,
        progress=row.metrics,
    )
