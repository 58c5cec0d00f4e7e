"""Texts as the wire lets them in and as Postgres keeps them: once for each tenant and content."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import ARRAY, Insert, Integer, LargeBinary, Select, bindparam, func, select
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.tables import texts

MAX_NAME: Final = 200
NO_NUL: Final = r"^[^\x00]*$"
"""What JSON Schema can say of `storable`; of surrogates it cannot."""


def storable(text: str) -> str:
    """The text itself.  Raises ValueError for what Postgres would refuse, and block a whole batch for."""
    if "\x00" in text:
        raise ValueError("contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("contains a lone surrogate") from error
    return text


Text: TypeAlias = Annotated[
    str, AfterValidator(storable), Field(json_schema_extra={"pattern": NO_NUL})
]
"""Any text that can be stored."""

Name: TypeAlias = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_NAME)]
"""A short text that names something."""


def sha256(text: str) -> bytes:
    """What a text is known by."""
    return hashlib.sha256(text.encode()).digest()


async def ids(
    connection: AsyncConnection, bodies: Iterable[str], *, tenant: str, keep_bodies: bool
) -> Mapping[bytes, int]:
    """The id of every text by its `sha256`; those not met before are stored, without their body unless kept.

    One whose hash alone was kept until now gets its body.
    """
    by_hash = {sha256(body): body for body in bodies}
    known = await _known(connection, by_hash, tenant=tenant, with_body=keep_bodies)
    # In one order for all writers, so that two of them never wait for each other.
    fresh = {digest: by_hash[digest] for digest in sorted(by_hash.keys() - known.keys())}
    if fresh:
        await connection.execute(_insert(fresh, tenant=tenant, keep_bodies=keep_bodies))
        known |= await _known(connection, fresh, tenant=tenant, with_body=False)
    return known


async def kept_bodies(
    connection: AsyncConnection, text_ids: Iterable[int | None]
) -> dict[int, str]:
    """By their ids; of the others the hash alone is kept, or they were erased."""
    statement = select(texts.c.text_id, texts.c.body).where(
        texts.c.text_id.in_(set(text_ids) - {None}), texts.c.body.is_not(None)
    )
    return {row.text_id: row.body for row in await connection.execute(statement)}


async def _known(
    connection: AsyncConnection, hashes: Iterable[bytes], *, tenant: str, with_body: bool
) -> dict[bytes, int]:
    known = _select(list(hashes), tenant=tenant)
    rows = await connection.execute(known.where(texts.c.body.is_not(None)) if with_body else known)
    return {bytes(row.sha256): row.text_id for row in rows}


def _select(hashes: list[bytes], *, tenant: str) -> Select[tuple[bytes, int]]:
    wanted = bindparam("hashes", hashes, type_=ARRAY(LargeBinary))
    return select(texts.c.sha256, texts.c.text_id).where(
        texts.c.tenant == tenant, texts.c.sha256 == func.any(wanted)
    )


def _insert(fresh: Mapping[bytes, str], *, tenant: str, keep_bodies: bool) -> Insert:
    rows = (
        func.unnest(
            bindparam("hashes", list(fresh), type_=ARRAY(LargeBinary)),
            bindparam(
                "bodies",
                [body if keep_bodies else None for body in fresh.values()],
                type_=ARRAY(SqlText),
            ),
            bindparam("sizes", [len(body) for body in fresh.values()], type_=ARRAY(Integer)),
        )
        .table_valued("sha256", "body", "n_chars")
        .render_derived()
    )
    chosen = select(
        bindparam("tenant", tenant, type_=SqlText), rows.c.sha256, rows.c.body, rows.c.n_chars
    )
    stored = insert(texts).from_select(["tenant", "sha256", "body", "n_chars"], chosen)
    return stored.on_conflict_do_update(
        index_elements=["tenant", "sha256"],
        set_={"body": stored.excluded.body},
        where=texts.c.body.is_(None) & stored.excluded.body.is_not(None),
    )
