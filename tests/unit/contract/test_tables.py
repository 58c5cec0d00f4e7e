import pytest
from sqlalchemy import CheckConstraint, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from contract.tables import PARTITIONED, metadata

TABLES = [pytest.param(table, id=name) for name, table in metadata.tables.items()]
SHARED = {"reward_specs", "leases", "judge_leases"}
"""A spec belongs to nobody; a lease carries its line in its name, or is of an answer that has a tenant."""
LONGEST_NAME = 63
"""PostgreSQL cuts longer names without a word."""


@pytest.mark.parametrize("table", TABLES)
def test_every_table_says_whose_its_rows_are(table: Table) -> None:
    assert table.name in SHARED or {"tenant", "line"} & set(table.c.keys())


@pytest.mark.parametrize("name", PARTITIONED)
def test_the_day_in_the_id_is_enough_to_find_a_row(name: str) -> None:
    table = metadata.tables[name]

    assert next(iter(table.primary_key.columns)).name == "decision_id"
    assert "PARTITION BY RANGE (decision_id)" in _ddl(table)


@pytest.mark.parametrize("table", TABLES)
def test_no_foreign_key_touches_what_is_written_in_batches(table: Table) -> None:
    leads_to = {key.column.table.name for key in table.foreign_keys}

    assert not leads_to & set(PARTITIONED)
    assert not (leads_to and table.name in PARTITIONED)


@pytest.mark.parametrize("name", PARTITIONED)
def test_what_grows_can_be_read_by_transaction(name: str) -> None:
    table = metadata.tables[name]

    assert ["xid"] in [[column.name for column in index.columns] for index in table.indexes]


@pytest.mark.parametrize("table", TABLES)
def test_every_check_has_a_name_that_a_message_can_show(table: Table) -> None:
    checks = [rule for rule in table.constraints if isinstance(rule, CheckConstraint)]

    assert all(rule.name for rule in checks)


@pytest.mark.parametrize("table", TABLES)
def test_no_name_is_long_enough_to_be_cut(table: Table) -> None:
    created = [_ddl(table), *(str(CreateIndex(index)) for index in table.indexes)]

    assert max(len(word) for line in created for word in line.split()) <= LONGEST_NAME


def _ddl(table: Table) -> str:
    return str(CreateTable(table).compile(dialect=postgresql.dialect()))
