"""The few kinds of column and rule that the tables are made of."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
    cast,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import SchemaItem
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


def as_xid(number: int) -> ColumnElement[int]:
    """The transaction id as SQL: no driver has a type for it."""
    return cast(literal(str(number), Text()), Xid8())


_KINDS: Final[dict[str, Any]] = {
    "bigint": BigInteger(),
    "bigint[]": ARRAY(BigInteger()),
    "boolean": Boolean(),
    "bytea": LargeBinary(),
    "float8": Double(),
    "float8[]": ARRAY(Double()),
    "int": Integer(),
    "int[]": ARRAY(Integer()),
    "jsonb": JSONB(none_as_null=True),
    "smallint": SmallInteger(),
    "smallint[]": ARRAY(SmallInteger()),
    "text": Text(),
    "text[]": ARRAY(Text()),
    "timestamptz": DateTime(timezone=True),
    "uuid": Uuid(),
    "xid8": Xid8(),
}


metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)


def required(name: str, kind: str, *, default: str | None = None) -> Column[Any]:
    """A column that is never NULL; `default` is the server's, in SQL."""
    server_default = None if default is None else text(default)
    return Column(name, _KINDS[kind], nullable=False, server_default=server_default)


def optional(name: str, kind: str) -> Column[Any]:
    """A column in which NULL means unknown, never a value."""
    return Column(name, _KINDS[kind], nullable=True)


def key(name: str, kind: str, *rules: SchemaItem) -> Column[Any]:
    """A part of the primary key."""
    return Column(name, _KINDS[kind], *rules, primary_key=True, nullable=False)


def reference(name: str, target: str, *, nullable: bool) -> Column[Any]:
    """The text key of a row in another table."""
    return Column(name, _KINDS["text"], ForeignKey(target), nullable=nullable)


def tenant() -> Column[Any]:
    return required("tenant", "text", default="'default'")


def line() -> Column[Any]:
    return required("line", "text", default="'default'")


def now(name: str) -> Column[Any]:
    """A time that the server fills in when nobody says."""
    return required(name, "timestamptz", default="now()")


def flag(name: str) -> Column[Any]:
    return required(name, "boolean", default="false")


def document(name: str) -> Column[Any]:
    """A JSON object, empty when nobody says."""
    return required(name, "jsonb", default="'{}'::jsonb")


def xid() -> Column[Any]:
    """The transaction that wrote the row: readers stay below `pg_snapshot_xmin`."""
    return required("xid", "xid8", default="pg_current_xact_id()")


def check(name: str, condition: str) -> CheckConstraint:
    return CheckConstraint(condition, name=name)


def one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return check(f"{column}_known", f"{column} IN ({listed})")
