"""Reads what a round learns from: decisions whose reward was derived in a closed window of transactions.

A window is half-open in transaction ids, [xid_from, xid_to), and closes below the oldest transaction still open:
whatever commits later has a higher id and falls into the next window, so no row is missed and none is read twice.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Self, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on

from contract import quarantine
from contract.columns import Xid8, as_xid
from contract.records import Feedback
from contract.refusals import Refusal
from contract.rewards import RewardSpec, counted
from contract.rewards import reward as reward_of
from contract.tables import answers, decisions, rewards, texts
from trainer import replays
from trainer.examples import Example, Replayed, Skipped, example
from trainer.rewards import columns, feedback_of, named

MAX_QUARANTINED: Final = 0.01
CHUNK: Final = 2_000
"""Decisions looked up in one statement."""


class PropensitiesWrong(Refusal):
    """More than 1 % of the logged propensities do not follow from the logged logits: nothing may be learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Transactions [xid_from, xid_to) of one line's rewards under one spec."""

    line: str
    spec_id: str
    spec_version: int
    xid_from: int
    xid_to: int

    @classmethod
    def of(cls, line: str, spec: RewardSpec, *, xid_from: int, xid_to: int) -> Self:
        return cls(
            line=line,
            spec_id=spec.id,
            spec_version=spec.version,
            xid_from=xid_from,
            xid_to=xid_to,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a window and the past before it amount to."""

    examples: tuple[Example, ...]
    """Oldest first."""
    skipped: Mapping[Skipped, int]

    @classmethod
    def of(cls, found: Iterable[Example | Skipped]) -> Self:
        """Raises `PropensitiesWrong`."""
        skipped: Counter[Skipped] = Counter()
        examples: list[Example] = []
        for each in found:
            if isinstance(each, Example):
                examples.append(each)
            else:
                skipped[each] += 1
        refuse_wrong(skipped[Skipped.QUARANTINED], learned=len(examples))
        return cls(examples=tuple(examples), skipped=dict(skipped))


def refuse_wrong(quarantined: int, *, learned: int) -> None:
    """Raises `PropensitiesWrong` where more than 1 % of them are in quarantine."""
    if quarantined > MAX_QUARANTINED * (quarantined + learned):
        message = f"{quarantined} of {quarantined + learned} decisions log a propensity that is not theirs"
        raise PropensitiesWrong(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much a window and the past before it hold, at most."""

    decisions: int
    """Ever rewarded, usable or not."""
    sampled: int
    """Most candidates that took part in one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What a window that starts at some transaction would hold if it closed now."""

    decisions: int
    """First rewarded in it, and decided by the version asked about."""
    xid_to: int
    """Where it would close: below the oldest transaction still open."""
    lag: int
    """Transaction ids between there and the newest: one long transaction holds up all that come after it."""


def arrived(
    connection: Connection, *, line: str, spec: RewardSpec, since: int, version: str
) -> Arrived:
    """What came since that transaction; the end is taken in the statement that counts."""
    earlier = rewards.alias("earlier")
    known_before = (
        select(earlier.c.decision_id)
        .where(
            earlier.c.decision_id == rewards.c.decision_id,
            earlier.c.spec_id == spec.id,
            earlier.c.spec_version == spec.version,
            earlier.c.reward.is_not(None),
            earlier.c.xid < as_xid(since),
        )
        .exists()
    )
    counted = (
        select(func.count(func.distinct(rewards.c.decision_id)))
        .join(decisions, decisions.c.decision_id == rewards.c.decision_id)
        .where(
            decisions.c.version == version,
            rewards.c.line == line,
            rewards.c.spec_id == spec.id,
            rewards.c.spec_version == spec.version,
            rewards.c.reward.is_not(None),
            rewards.c.xid >= as_xid(since),
            rewards.c.xid < _xmin(),
            ~known_before,
        )
        .scalar_subquery()
    )
    row = connection.execute(select(counted, _xmin(), _xmax())).one()
    return Arrived(decisions=row[0], xid_to=row[1], lag=row[2] - row[1])


def read(connection: Connection, window: Window, *, limit: int) -> Joined:
    """The newest `limit` decisions rewarded before `window.xid_to`.  Raises `PropensitiesWrong`."""
    newest = (
        select(rewards.c.decision_id)
        .where(*_within(window))
        .distinct()
        .order_by(rewards.c.decision_id.desc())
        .limit(limit)
    )
    latest = _latest_rewards(window).where(rewards.c.decision_id.in_(newest))
    rows = connection.execute(latest).mappings().all()
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    spec = named(connection, window.spec_id, window.spec_version)
    bodies: dict[str, str] = {}
    return Joined.of(
        each
        for chunk in chunks
        for each in _read(connection, window, chunk, spec=spec, bodies=bodies)
    )


def stream(
    connection: Connection, window: Window, *, chunk: int = CHUNK
) -> Iterator[list[Example | Skipped]]:
    """All decisions rewarded before `window.xid_to`, oldest first, so many in memory at a time.

    A transaction that only reads has no id: however long this takes, it holds up no round's window.
    """
    spec = named(connection, window.spec_id, window.spec_version)
    found = connection.execute(_latest_rewards(window), execution_options={"yield_per": chunk})
    for rows in found.mappings().partitions():
        yield list(_read(connection, window, rows, spec=spec, bodies={}))


def closed(connection: Connection, line: str, spec: RewardSpec) -> Window:
    """All that was rewarded until now; it ends below the oldest transaction still open."""
    xid_to = connection.execute(select(_xmin())).scalar_one()
    return Window.of(line, spec, xid_from=0, xid_to=xid_to)


def extent(connection: Connection, window: Window) -> Extent:
    """What `stream` will come to, before it begins."""
    statement = (
        select(
            func.count(func.distinct(rewards.c.decision_id)),
            func.coalesce(func.max(decisions.c.sampled), 0),
        )
        .outerjoin(decisions, decisions.c.decision_id == rewards.c.decision_id)
        .where(*_within(window))
    )
    row = connection.execute(statement).one()
    return Extent(decisions=row[0], sampled=row[1])


def _read(
    connection: Connection,
    window: Window,
    rows: Sequence[RowMapping],
    *,
    spec: RewardSpec,
    bodies: dict[str, str],
) -> Iterator[Example | Skipped]:
    """What becomes of these last revisions, in their order."""
    ids = [row["decision_id"] for row in rows]
    found = _decisions(connection, ids, bodies)
    said = feedback_of(connection, ids, before=window.xid_to)
    silenced = set(connection.scalars(quarantine.silenced(ids)))
    again = replays.heard(connection, ids, before=window.xid_to)
    for row in rows:
        yield _example(
            found.get(row["decision_id"]),
            cast("Mapping[str, Any]", row),
            said.get(row["decision_id"], []),
            again.get(row["decision_id"], []),
            silenced=silenced,
            spec=spec,
            xid_from=window.xid_from,
        )


def _example(
    row: Mapping[str, Any] | None,
    reward: Mapping[str, Any],
    said: Sequence[Feedback],
    again: Sequence[Replayed],
    *,
    silenced: AbstractSet[UUID],
    spec: RewardSpec,
    xid_from: int,
) -> Example | Skipped:
    """Where a source in quarantine spoke, the reward is what it would be had it not."""
    heard = [each for each in said if each.id not in silenced]
    if row is not None and reward["reward"] is not None and len(heard) < len(said):
        without = reward_of(spec, heard)
        if without.value is None:
            return Skipped.SILENCED
        reward = {**reward, **columns(without, candidates=len(row["candidate_texts"]))}
    return example(row, reward, counted(spec, heard), again, xid_from=xid_from)


def _xmin() -> ColumnElement[int]:
    return func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8())


def _xmax() -> ColumnElement[int]:
    return func.pg_snapshot_xmax(func.pg_current_snapshot(), type_=Xid8())


def _latest_rewards(window: Window) -> Select[Any]:
    """The last revision before the end of the window of each decision, oldest first."""
    first_rewarded = (
        func.min(rewards.c.xid, type_=Xid8())
        .filter(rewards.c.reward.is_not(None))
        .over(partition_by=rewards.c.decision_id)
    )
    return (
        select(
            rewards.c.decision_id,
            rewards.c.reward,
            rewards.c.credits,
            rewards.c.observation,
            first_rewarded.label("first_rewarded"),
        )
        .ext(distinct_on(rewards.c.decision_id))
        .where(*_within(window))
        .order_by(rewards.c.decision_id, rewards.c.revision.desc())
    )


def _within(window: Window) -> tuple[ColumnElement[bool], ...]:
    return (
        rewards.c.line == window.line,
        rewards.c.spec_id == window.spec_id,
        rewards.c.spec_version == window.spec_version,
        rewards.c.xid < as_xid(window.xid_to),
    )


def _decisions(
    connection: Connection, ids: Sequence[UUID], bodies: dict[str, str]
) -> dict[UUID, Mapping[str, Any]]:
    """Each decision with its answer and its texts.

    bodies: texts that are known; many decisions share a passage, and memory holds it once.
    """
    found: dict[UUID, Mapping[str, Any]] = {}
    for row in connection.execute(_with_texts(ids)).mappings():
        listed = row["documents"] or []
        shared = [None if body is None else bodies.setdefault(body, body) for body in listed]
        found[row["decision_id"]] = {**cast("Mapping[str, Any]", row), "documents": shared}
    return found


def _with_texts(ids: Sequence[UUID]) -> Select[Any]:
    query = texts.alias("query")
    candidate = texts.alias("candidate")
    listed = (
        func.unnest(decisions.c.candidate_texts)
        .table_valued("text_id", with_ordinality="position")
        .render_derived()
        .lateral("listed")
    )
    bodies = (
        select(func.array_agg(aggregate_order_by(candidate.c.body, listed.c.position.asc())))
        .select_from(listed)
        .join(candidate, candidate.c.text_id == listed.c.text_id)
        .scalar_subquery()
    )
    return (
        select(
            decisions,
            answers.c.used_k,
            answers.c.used,
            answers.c.citations,
            answers.c.model.label("reader"),
            query.c.body.label("query"),
            query.c.sha256.label("query_sha256"),
            bodies.label("documents"),
        )
        .join(query, query.c.text_id == decisions.c.query_text)
        .outerjoin(answers, answers.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.decision_id.in_(ids))
    )
