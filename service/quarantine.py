"""Which sources are not heard: quarantined by an operator, and lifted again; rounds read what is said here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import quarantine
from contract.records import Source
from contract.tables import quarantines
from service.in_time import in_time
from service.operators import NothingToChange, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantines:
    """Every change that operators made, in all tenants."""

    engine: AsyncEngine

    @in_time
    async def change(
        self,
        *,
        tenant: str,
        source: Source,
        source_id: str,
        quarantined: bool,
        since: datetime | None,
        reason: str,
    ) -> Row:
        """The row that says so.  Raises `NothingToChange` where a source is lifted that is heard."""
        named: dict[str, Any] = {"tenant": tenant, "source_id": source_id}
        async with self.engine.begin() as connection:
            is_held = await connection.scalar(quarantine.newest(source=source, **named))
            if not quarantined and not is_held:
                raise NothingToChange("this source is heard already")
            added = await connection.execute(
                quarantine.change(
                    **named,
                    source_type=source.value,
                    quarantined=quarantined,
                    since=since,
                    actor="operator",
                    reason=reason,
                )
            )
            return dict(added.mappings().one())

    @in_time
    async def listed(self, *, limit: int) -> list[Row]:
        """Newest first."""
        statement = select(quarantines).order_by(quarantines.c.quarantine_id.desc()).limit(limit)
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(statement)).mappings()]
