from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import publication
from contract.pointer import Live
from contract.publication import Action

MINUTE = timedelta(minutes=1)
OVER = timedelta(seconds=-1)
"""A lease that has run out as soon as it is taken."""


def test_a_lease_is_taken_once_and_renewed_by_its_holder(connection: Connection) -> None:
    assert _take(connection, "one") == 1
    assert _take(connection, "another") is None
    assert _take(connection, "one") == 1


def test_a_lease_that_ran_out_changes_hands_with_a_new_token(connection: Connection) -> None:
    assert _take(connection, "one", ttl=OVER) == 1
    assert _take(connection, "another") == 2
    assert _take(connection, "one") is None


def test_a_lease_that_was_released_is_free(connection: Connection) -> None:
    _take(connection, "one")
    connection.execute(publication.release_lease("default", holder="one"))

    assert _take(connection, "another") == 2


def test_an_operator_takes_a_lease_by_force_and_the_holder_is_stale(connection: Connection) -> None:
    held = _take(connection, "trainer")
    _register(connection, "v1")

    assert _take(connection, "operator", force=True) == 2
    assert isinstance(_refusal(connection, "v1", token=held), publication.TokenStale)


def test_nobody_publishes_without_a_lease(connection: Connection) -> None:
    _register(connection, "v1")

    assert isinstance(_refusal(connection, "v1", token=1), publication.LeaseMissing)


def test_the_lease_of_another_line_does_not_count(connection: Connection) -> None:
    token = connection.scalar(publication.take_lease("other", holder="one", ttl=MINUTE))
    _register(connection, "v1")

    assert isinstance(_refusal(connection, "v1", token=token), publication.LeaseMissing)


def test_a_token_from_before_is_refused_and_so_is_one_that_was_never_given(
    connection: Connection,
) -> None:
    stale = _take(connection, "one", ttl=OVER)
    current = _take(connection, "another")
    _register(connection, "v1")

    assert isinstance(_refusal(connection, "v1", token=stale), publication.TokenStale)
    assert isinstance(_refusal(connection, "v1", token=99), publication.TokenStale)
    _promote(connection, "v1", token=current)


def test_of_two_promotions_from_one_epoch_one_wins(connection: Connection) -> None:
    token = _take(connection, "one")
    _register(connection, "v1")
    _register(connection, "v2")
    _promote(connection, "v1", token=token, expected_epoch=0)

    lost = _refusal(connection, "v2", token=token, expected_epoch=0)

    assert isinstance(lost, publication.EpochMoved)
    assert str(lost) == "line default is at epoch 1, not at 0"


def test_an_epoch_ahead_of_what_is_live_is_refused(connection: Connection) -> None:
    token = _take(connection, "one")
    _register(connection, "v1")

    ahead = _refusal(connection, "v1", token=token, expected_epoch=4)

    assert isinstance(ahead, publication.EpochMoved)


def test_the_lease_does_not_change_hands_before_an_open_promotion_has_committed(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        token = _take(connection, "one", ttl=OVER)
        _register(connection, "v1")

    with engine.begin() as publisher, engine.connect() as taker:
        _promote(publisher, "v1", token=token)
        taker.execute(text("SET lock_timeout = '100ms'"))

        with pytest.raises(DBAPIError, match="lock timeout"):
            _take(taker, "another")


def test_a_run_publishes_once(connection: Connection) -> None:
    run_id = uuid4()
    token = _take(connection, "one")
    _register(connection, "v1")
    _promote(connection, "v1", token=token, expected_epoch=0, run_id=run_id)

    with pytest.raises(IntegrityError, match="promotions_run_id_key"):
        _promote(connection, "v1", token=token, expected_epoch=1, run_id=run_id)


def test_a_version_that_nobody_registered_is_not_published(connection: Connection) -> None:
    token = _take(connection, "one")

    with pytest.raises(IntegrityError, match="promotions_version_fkey"):
        _promote(connection, "v1", token=token)


@pytest.mark.parametrize(
    "change", ["UPDATE promotions SET reason = ''", "DELETE FROM promotions", "TRUNCATE promotions"]
)
def test_the_history_is_never_changed(connection: Connection, change: str) -> None:
    token = _take(connection, "one")
    _register(connection, "v1")
    _promote(connection, "v1", token=token)

    with pytest.raises(DBAPIError) as refused:
        connection.execute(text(change))
    assert isinstance(publication.refusal_in(refused.value), publication.AppendOnly)


@pytest.mark.parametrize(
    ("shares", "rule"),
    [
        ({"canary_share": 0.9, "hold_back_share": 0.2}, "shares_sum"),
        ({"canary_share": 0.9, "hold_back_share": 0.0}, "hold_back_both"),
        ({"canary_share": 0.9, "hold_back_share": -0.1}, "hold_back_share_range"),
    ],
)
def test_shares_that_are_none_are_refused(
    connection: Connection, shares: dict[str, float], rule: str
) -> None:
    token = _take(connection, "one")
    _register(connection, "v1")
    live = Live(
        line="default",
        epoch=1,
        version="v1",
        canary_version="v1",
        hold_back_version="v1",
        **shares,
    )

    with pytest.raises(IntegrityError, match=f"promotions_{rule}"):
        connection.execute(publication.promote(live, token=token, actor="test", reason="a test"))


def test_registering_a_version_again_changes_nothing(connection: Connection) -> None:
    _register(connection, "v1", uri="file:///first")
    _register(connection, "v1", uri="file:///second")
    uri = connection.scalar(text("SELECT uri FROM model_versions"))

    assert uri == "file:///first"


def test_a_rollback_is_a_new_epoch(connection: Connection) -> None:
    token = _take(connection, "one")
    _register(connection, "v1")
    _register(connection, "v2")
    _promote(connection, "v1", token=token, expected_epoch=0, action=Action.INIT)
    _promote(connection, "v2", token=token, expected_epoch=1)
    _promote(connection, "v1", token=token, expected_epoch=2, action=Action.ROLLBACK)
    live = connection.execute(publication.live("default")).one()

    assert (live.epoch, live.version, live.action) == (3, "v1", "rollback")


def test_an_empty_line_serves_nothing(connection: Connection) -> None:
    assert connection.execute(publication.live("default")).first() is None


async def test_the_same_statements_run_on_an_async_engine(async_engine: AsyncEngine) -> None:
    async with async_engine.begin() as connection:
        lease = publication.take_lease("default", holder="one", ttl=MINUTE)
        token = (await connection.execute(lease)).scalar_one() or 0
        await connection.execute(_version("v1", manifest={"precision": "float32"}))
        await connection.execute(
            publication.promote(
                Live(line="default", epoch=1, version="v1"),
                token=token,
                actor="test",
                reason="first",
            )
        )
        live = (await connection.execute(publication.live("default"))).one()

    assert (live.epoch, live.version, live.manifest) == (1, "v1", {"precision": "float32"})


def _take(connection: Connection, holder: str, **changes: Any) -> Any:
    arguments = {"ttl": MINUTE} | changes
    return connection.scalar(publication.take_lease("default", holder=holder, **arguments))


def _version(version: str, **changes: Any) -> Any:
    arguments = {"line": "default", "base": "b", "uri": "file:///v", "manifest": {}} | changes
    return publication.register_version(version, **arguments)


def _register(connection: Connection, version: str, **changes: Any) -> None:
    connection.execute(_version(version, **changes))


def _promote(
    connection: Connection, version: str, *, expected_epoch: int = 0, **changes: Any
) -> None:
    live = Live(line="default", epoch=expected_epoch + 1, version=version)
    arguments: dict[str, Any] = {"actor": "test", "reason": "a test"} | changes
    connection.execute(publication.promote(live, **arguments))


def _refusal(connection: Connection, version: str, **changes: Any) -> object:
    with pytest.raises(DBAPIError) as raised, connection.begin_nested():
        _promote(connection, version, **changes)
    return publication.refusal_in(raised.value)
