"""Keys in PostgreSQL: made, rotated, revoked, listed and read. The keys themselves never get there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)

from contract.model_tables import api_keys
from contract.refusals import Refusal
from service import keys
from service.keys import ApiKey, KeyRecord

USABLE: Final[ColumnElement[bool]] = and_(
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now()),
)


class UnknownKey(Refusal):
    """There is no such key, or it works no more."""


class RotatedBefore(Refusal):
    """The key has a successor already: it is that one's turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a key is made for."""

    tenant: str
    scopes: Sequence[str]
    name: str | None = None
    lifetime: timedelta | None = None


def create(
    connection: Connection, purpose: Purpose, *, pepper: bytes, rotated_from: str | None = None
) -> ApiKey:
    """A new key; this is the only time that anybody sees it."""
    key = keys.mint()
    row = {
        "key_id": key.key_id,
        "tenant": purpose.tenant,
        "scopes": sorted(set(purpose.scopes)),
        "name": purpose.name,
        "secret_hmac": key.digest(pepper),
        "expires_at": None if purpose.lifetime is None else func.now() + purpose.lifetime,
        "rotated_from": rotated_from,
    }
    connection.execute(insert(api_keys).values(row))
    return key


def rotate(connection: Connection, key_id: str, *, grace: timedelta, pepper: bytes) -> ApiKey:
    """A successor for as long as the old key was made for; that one works for the grace time yet.

    Raises `UnknownKey`, `RotatedBefore`.
    """
    # Locked: of two who rotate at the same time, the second finds a successor.
    usable = select(api_keys).where(api_keys.c.key_id == key_id, USABLE).with_for_update()
    old = connection.execute(usable).one_or_none()
    if old is None:
        raise UnknownKey(f"no key {key_id} works")
    successor = select(api_keys.c.key_id).where(api_keys.c.rotated_from == key_id)
    if (successor_id := connection.scalar(successor)) is not None:
        raise RotatedBefore(f"key {key_id} was rotated before, into {successor_id}")
    until = func.least(api_keys.c.expires_at, func.now() + grace)
    connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(expires_at=until))
    purpose = Purpose(
        tenant=old.tenant,
        scopes=old.scopes,
        name=old.name,
        lifetime=None if old.expires_at is None else old.expires_at - old.created_at,
    )
    return create(connection, purpose, pepper=pepper, rotated_from=key_id)


def revoke(connection: Connection, key_id: str) -> None:
    """Ends a key.  Raises `UnknownKey`."""
    statement = (
        update(api_keys)
        .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(api_keys.c.key_id)
    )
    if connection.scalar(statement) is None:
        raise UnknownKey(f"no key {key_id} works")


def listed(connection: Connection) -> Sequence[Row[Any]]:
    """Every key there ever was, newest first, with `usable`: whether it works now."""
    statement = select(api_keys, USABLE.label("usable")).order_by(api_keys.c.created_at.desc())
    return connection.execute(statement).all()


def usable() -> Select[Any]:
    """The keys that work now, in the columns of a `KeyRecord`."""
    return select(*(api_keys.c[name] for name in KeyRecord.__dataclass_fields__)).where(USABLE)


def record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        key_id=row.key_id,
        tenant=row.tenant,
        scopes=frozenset(row.scopes),
        secret_hmac=bytes(row.secret_hmac),
        expires_at=row.expires_at,
    )
