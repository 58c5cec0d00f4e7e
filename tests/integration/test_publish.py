from uuid import uuid4

import pytest
import redis
from sqlalchemy import func, select, text

from contract.artifact import MANIFEST, Manifest
from contract.pointer import Keys, Live
from contract.publication import Action, EpochMoved, LeaseMissing, TokenStale
from contract.store import Store
from contract.tables import model_versions, promotions
from tests import models
from trainer import publish
from trainer.lease import Lease

SECRET = b"a secret for tests"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def version(engine, store, tmp_path):
    models.make(tmp_path / "one")
    return publish.store_version(store, engine, tmp_path / "one", line="default")


@pytest.fixture
def token(engine):
    return Lease(engine, "default", ttl_s=60.0).take()


def promote(engine, version, token, *, expected_epoch=0, **columns):
    return publish.promote(
        engine,
        Live(line="default", epoch=expected_epoch + 1, version=version),
        token=token,
        reason="for a test",
        **columns,
    )


def count(engine, table):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_version_is_stored_and_known_once(engine, store, tmp_path, version):
    again = publish.store_version(store, engine, tmp_path / "one", line="default")

    assert again == version
    assert count(engine, model_versions) == 1
    fetched = store.fetch(version, tmp_path)
    assert Manifest.of_json((fetched / MANIFEST).read_bytes()).version == version


def test_a_promotion_is_the_next_epoch(engine, version, token):
    assert promote(engine, version, token) == Live(line="default", epoch=1, version=version)


def test_a_run_is_promoted_once_however_often_it_asks(engine, version, token):
    run_id = uuid4()

    lives = [promote(engine, version, token, run_id=run_id) for _ in range(2)]

    assert lives[0] == lives[1]
    assert count(engine, promotions) == 1


def test_an_epoch_that_moved_is_refused(engine, version, token):
    promote(engine, version, token)

    with pytest.raises(EpochMoved):
        promote(engine, version, token, expected_epoch=0)
    assert count(engine, promotions) == 1


def test_a_trainer_that_slept_through_its_lease_is_refused(engine, version):
    sleeper = Lease(engine, "default", ttl_s=60.0)
    stale = sleeper.take()
    with engine.begin() as connection:
        connection.execute(text("UPDATE leases SET expires_at = now() - interval '1 s'"))
    Lease(engine, "default", ttl_s=60.0).take()

    with pytest.raises(TokenStale):
        promote(engine, version, stale)
    assert sleeper.take() is None
    assert count(engine, promotions) == 0


def test_without_any_lease_nobody_publishes(engine, version):
    with pytest.raises(LeaseMissing):
        promote(engine, version, 1)


def test_a_lease_is_held_by_one_and_handed_over(engine):
    with Lease(engine, "default", ttl_s=60.0) as first:
        one = first.take() or 0
        assert Lease(engine, "default", ttl_s=60.0).take() is None

    # Released at the end of the `with`: the next one need not wait, and has another token.
    assert Lease(engine, "default", ttl_s=60.0).take() == one + 1


def test_a_lease_is_renewed_while_its_holder_works(engine):
    with Lease(engine, "default", ttl_s=0.3) as lease:
        lease.take()
        before = _expires(engine)

        for _ in range(100):
            if _expires(engine) > before:
                break
            with engine.connect() as connection:
                connection.execute(text("SELECT pg_sleep(0.05)"))

        assert _expires(engine) > before


def _expires(engine):
    with engine.connect() as connection:
        return connection.execute(text("SELECT expires_at FROM leases")).scalar_one()


def test_the_word_reaches_redis_signed(redis_url):
    live = Live(line="default", epoch=3, version="abc")
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert publish.announce(client, live, secret=SECRET)
        document = client.hget(Keys.of("default").state, "document")

    assert Live.of_signed(document, secret=SECRET) == live


def test_the_word_may_be_repeated_and_an_old_one_is_ignored(redis_url):
    new, old = (Live(line="default", epoch=epoch, version="abc") for epoch in (3, 2))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for live in (new, new, old):
            publish.announce(client, live, secret=SECRET)

        assert client.hget(Keys.of("default").state, "epoch") == "3"
        assert client.xlen(Keys.of("default").events) == 1


def test_redis_being_away_is_no_failure():
    with redis.Redis.from_url("redis://127.0.0.1:9/0") as client:
        assert not publish.announce(
            client, Live(line="default", epoch=1, version="abc"), secret=SECRET
        )


def test_a_rollback_does_not_count_as_the_promotion_of_a_run(engine, version, token):
    promote(engine, version, token, action=Action.INIT)

    with engine.connect() as connection:
        assert publish.published_by(connection, uuid4()) is None
