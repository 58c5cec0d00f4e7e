"""What operators ask of a line and do to it: look at its models, serve one of them, stop and resume the trainer."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import Select, Table, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract import publication
from contract.model_tables import evaluations, model_versions, promotions, training_runs
from contract.pointer import Live
from contract.publication import Action
from service.errors import HttpRefusal
from service.in_time import in_time

Row: TypeAlias = Mapping[str, Any]
Decide: TypeAlias = Callable[[AsyncConnection, Live], Awaitable[Live]]
"""From what is live, the next epoch.  Raises a `Refusal`."""

LEASE: Final = timedelta(seconds=30)
MIN_BEGINNING: Final = 8
"""Characters that may stand for a version: fewer are too easily a slip."""


class NothingLive(HttpRefusal):
    """The line serves nothing yet."""

    status = 404


class UnknownVersion(HttpRefusal):
    """This line has no such version."""

    status = 404


class AmbiguousVersion(HttpRefusal):
    """Several versions of this line begin so."""

    status = 409


class NothingToRollBack(HttpRefusal):
    """There is no earlier champion, or the one asked for serves already."""

    status = 409


class NothingToChange(HttpRefusal):
    """The line is what was asked for already."""

    status = 409


class SharesTooLarge(HttpRefusal):
    """The canary and the base would answer more than there is."""

    status = 409


class LineMoved(HttpRefusal):
    """Somebody published to this line since the caller looked."""

    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """The registry, as operators see it."""

    engine: AsyncEngine

    @in_time
    async def models(self, line: str, *, limit: int) -> list[Row]:
        rows = await self._newest(model_versions, line, limit=limit, by="created_at")
        async with self.engine.connect() as connection:
            live = await _live(connection, line)
        champion = None if live is None else live.version
        return [
            {
                **row,
                "id": row["version"],
                "live": row["version"] == champion,
                "precisions": sorted(row["manifest"].get("variants", {})),
            }
            for row in rows
        ]

    async def promotions(self, line: str, *, limit: int) -> list[Row]:
        return await self._newest(promotions, line, limit=limit, by="epoch")

    async def runs(self, line: str, *, limit: int) -> list[Row]:
        return await self._newest(training_runs, line, limit=limit, by="started_at")

    async def evaluations(self, line: str, *, limit: int) -> list[Row]:
        return await self._newest(evaluations, line, limit=limit, by="created_at")

    async def roll_back(
        self, line: str, *, to: str | None, reason: str, expected_epoch: int | None
    ) -> Live:
        """What the line serves now: a new epoch with an earlier version.

        Raises `NothingLive`, `UnknownVersion`, `AmbiguousVersion`, `NothingToRollBack`, `LineMoved`.
        """

        async def decide(connection: AsyncConnection, live: Live) -> Live:
            named = to or await connection.scalar(_champion_before(line, live.version))
            if named is None:
                raise NothingToRollBack("this line has no earlier champion")
            version = await _known(connection, line, named)
            if version == live.version:
                raise NothingToRollBack("this version serves already")
            return live.then(version)

        return await self._publish(
            line, Action.ROLLBACK, decide, reason=reason, expected_epoch=expected_epoch
        )

    async def promote(
        self, line: str, *, version: str, reason: str, expected_epoch: int | None
    ) -> Live:
        """What the line serves now: this version, whatever the gate said of it.

        Raises `NothingLive`, `UnknownVersion`, `AmbiguousVersion`, `NothingToChange`, `LineMoved`.
        """

        async def decide(connection: AsyncConnection, live: Live) -> Live:
            known = await _known(connection, line, version)
            if known == live.version:
                raise NothingToChange("this version serves already")
            return live.then(known)

        return await self._publish(
            line, Action.PROMOTE, decide, reason=reason, expected_epoch=expected_epoch
        )

    async def canary(
        self, line: str, *, version: str, share: float, reason: str, expected_epoch: int | None
    ) -> Live:
        """What the line serves now: its champion, and this version for a share of the units.

        Raises `NothingLive`, `UnknownVersion`, `AmbiguousVersion`, `NothingToChange`, `SharesTooLarge`, `LineMoved`.
        """

        async def decide(connection: AsyncConnection, live: Live) -> Live:
            known = await _known(connection, line, version)
            if known == live.version:
                raise NothingToChange("this version serves already")
            then = live.then(live.version, canary_version=known, canary_share=share)
            if then == replace(live, epoch=then.epoch):
                raise NothingToChange("this version is the canary already, at that share")
            return then

        return await self._publish(
            line, Action.CANARY, decide, reason=reason, expected_epoch=expected_epoch
        )

    async def end_canary(self, line: str, *, reason: str, expected_epoch: int | None) -> Live:
        """What the line serves now: its champion alone.

        Raises `NothingLive`, `NothingToRollBack`, `LineMoved`.
        """

        async def decide(_: AsyncConnection, live: Live) -> Live:
            if live.canary_version is None:
                raise NothingToRollBack("this line has no canary")
            return live.then(live.version)

        return await self._publish(
            line, Action.ROLLBACK, decide, reason=reason, expected_epoch=expected_epoch
        )

    async def hold_back(
        self, line: str, *, share: float, reason: str, expected_epoch: int | None
    ) -> Live:
        """The same versions under a new epoch, and the base for this share of the units; 0 holds back nobody.

        Raises `NothingLive`, `NothingToChange`, `SharesTooLarge`, `LineMoved`.
        """

        async def decide(connection: AsyncConnection, live: Live) -> Live:
            if share == live.hold_back_share:
                raise NothingToChange("that share is held back already")
            base = str(await connection.scalar(publication.base(line))) if share else None
            return replace(
                live, epoch=live.epoch + 1, hold_back_version=base, hold_back_share=share
            )

        return await self._publish(
            line, Action.HOLD_BACK, decide, reason=reason, expected_epoch=expected_epoch
        )

    async def rebuild(self, line: str, *, reason: str, expected_epoch: int | None) -> Live:
        """What the line serves now: its base, from which the next round learns anew, at once and from all that is kept.

        Raises `NothingLive`, `LineMoved`.
        """

        async def decide(connection: AsyncConnection, live: Live) -> Live:
            return live.then(str(await connection.scalar(publication.base(line))))

        return await self._publish(
            line, Action.REBUILD, decide, reason=reason, expected_epoch=expected_epoch
        )

    async def freeze(
        self, line: str, *, frozen: bool, reason: str, expected_epoch: int | None
    ) -> Live:
        """The same versions under a new epoch; while a line is frozen, no trainer begins a round or publishes.

        Raises `NothingLive`, `NothingToChange`, `LineMoved`.
        """

        async def decide(connection: AsyncConnection, live: Live) -> Live:
            if await connection.scalar(publication.is_frozen(line)) == frozen:
                raise NothingToChange(
                    f"this line is {'frozen already' if frozen else 'not frozen'}"
                )
            return replace(live, epoch=live.epoch + 1)

        action = Action.FREEZE if frozen else Action.UNFREEZE
        return await self._publish(
            line, action, decide, reason=reason, expected_epoch=expected_epoch
        )

    @in_time
    async def _publish(
        self, line: str, action: Action, decide: Decide, *, reason: str, expected_epoch: int | None
    ) -> Live:
        """The next epoch.  Raises `NothingLive`, `LineMoved`, and what `decide` does.

        The line's lease is taken by force: a trainer that is about to publish finds its token stale.
        """
        try:
            async with self.engine.begin() as connection:
                return await _published(
                    *(connection, line, action, decide),
                    reason=reason,
                    expected_epoch=expected_epoch,
                )
        except DBAPIError as error:
            refusal = publication.refusal_in(error)
            if refusal is None:
                raise
            raise LineMoved("the line was published to at the same time") from error

    @in_time
    async def _newest(self, table: Table, line: str, *, limit: int, by: str) -> list[Row]:
        statement = (
            select(table).where(table.c.line == line).order_by(table.c[by].desc()).limit(limit)
        )
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def _published(
    connection: AsyncConnection,
    line: str,
    action: Action,
    decide: Decide,
    *,
    reason: str,
    expected_epoch: int | None,
) -> Live:
    # The lease before the look: nobody else can publish between the two.
    holder = f"operator:{secrets.token_hex(8)}"
    taken = publication.take_lease(line, holder=holder, ttl=LEASE, force=True)
    token = (await connection.execute(taken)).scalar_one()
    live = await _live(connection, line)
    if live is None:
        raise NothingLive("this line serves nothing yet")
    if expected_epoch not in {None, live.epoch}:
        raise LineMoved(f"the line is at epoch {live.epoch}")
    then = await decide(connection, live)
    if then.canary_share + then.hold_back_share > 1:
        raise SharesTooLarge("the canary and the base would answer more than all sessions")
    if token is None:
        raise LineMoved("somebody else holds the lease of this line")
    await connection.execute(
        publication.promote(then, token=token, actor="operator", reason=reason, action=action)
    )
    await connection.execute(publication.mark_version(live.version, status="retired"))
    await connection.execute(publication.mark_version(then.version, status="champion"))
    await connection.execute(publication.release_lease(line, holder=holder))
    return then


async def _known(connection: AsyncConnection, line: str, version: str) -> str:
    """The version that is called so, or the only one that begins so.

    Raises `UnknownVersion`, `AmbiguousVersion`.
    """
    named = model_versions.c.version
    meant = named == version
    if len(version) >= MIN_BEGINNING:
        meant = named.startswith(version, autoescape=True)
    found = (
        await connection.scalars(
            select(named)
            .where(model_versions.c.line == line, meant)
            .order_by(func.length(named))
            .limit(2)
        )
    ).all()
    if not found:
        raise UnknownVersion("this line has no such version")
    if len(found) > 1 and found[0] != version:
        raise AmbiguousVersion("several versions of this line begin so")
    return str(found[0])


def _champion_before(line: str, version: str) -> Select[Any]:
    """The version that `version` replaced when it was promoted; a second rollback goes one further back."""
    promoted = select(func.max(promotions.c.previous_epoch)).where(
        promotions.c.line == line,
        promotions.c.version == version,
        promotions.c.action.in_([Action.INIT, Action.PROMOTE]),
    )
    return select(promotions.c.version).where(
        promotions.c.line == line, promotions.c.epoch == promoted.scalar_subquery()
    )


async def _live(connection: AsyncConnection, line: str) -> Live | None:
    row = (await connection.execute(publication.live(line))).one_or_none()
    return None if row is None else publication.pointer(row)
