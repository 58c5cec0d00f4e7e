"""The few kinds of column that the tables are made of."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[int]):
    """A 64-bit transaction id: it grows with time, never wraps, and does not survive a restore."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "XID8"

    def bind_processor(self, dialect: Dialect) -> Callable[[int | None], str | None]:
        del dialect
        return lambda value: None if value is None else str(value)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[str | None], int | None]:
        del dialect, coltype
        return lambda value: None if value is None else int(value)


_KINDS: Final[dict[str, Any]] = {
    "bigint": BigInteger(),
    "bigint[]": ARRAY(BigInteger()),
    "boolean": Boolean(),
    "bytea": LargeBinary(),
    "float8": Double(),
    "float8[]": ARRAY(Double()),
    "int": Integer(),
    "jsonb": JSONB(none_as_null=True),
    "smallint": SmallInteger(),
    "smallint[]": ARRAY(SmallInteger()),
    "text": Text(),
    "text[]": ARRAY(Text()),
    "timestamptz": DateTime(timezone=True),
    "uuid": Uuid(),
    "xid8": Xid8(),
}


def required(name: str, kind: str, *constraints: Any, default: Any = None) -> Column[Any]:
    """A column that is never NULL; `default` is the server's, as SQL."""
    server_default = text(default) if isinstance(default, str) else default
    return Column(name, _KINDS[kind], *constraints, nullable=False, server_default=server_default)


def optional(name: str, kind: str, *constraints: Any) -> Column[Any]:
    """A column in which NULL means unknown, never a value."""
    return Column(name, _KINDS[kind], *constraints, nullable=True)


def key(name: str, kind: str, *constraints: Any) -> Column[Any]:
    """A part of the primary key."""
    return Column(name, _KINDS[kind], *constraints, primary_key=True, nullable=False)


def tenant() -> Column[Any]:
    return required("tenant", "text", default="'default'")


def line() -> Column[Any]:
    return required("line", "text", default="'default'")


def now(name: str) -> Column[Any]:
    """A time that the server fills in when nobody says."""
    return required(name, "timestamptz", default=func.now())


def flag(name: str) -> Column[Any]:
    return required(name, "boolean", default="false")


def document(name: str) -> Column[Any]:
    """A JSON object, empty when nobody says."""
    return required(name, "jsonb", default="'{}'::jsonb")


def xid() -> Column[Any]:
    """The transaction that wrote the row: readers stay below `pg_snapshot_xmin`."""
    return required("xid", "xid8", default=func.pg_current_xact_id())
