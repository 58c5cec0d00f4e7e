import pytest
import redis
from sqlalchemy import func, select

from contract.pointer import Keys, Live
from contract.tables import evaluations, model_versions, promotions, training_runs
from tests import workbench
from trainer.candidates import Workshop
from trainer.runs import Status
from contract.store import Store

DECISIONS = 500


@pytest.fixture
def settings(database_url, redis_url, tmp_path):
    return workbench.settings(database_url, redis_url, tmp_path)


@pytest.fixture
def base(settings, tmp_path):
    return workbench.start(settings, tmp_path / "base")


def answer(settings, engine, version, **traffic):
    served = Workshop(settings, Store(settings.artifacts_url), threads=1).served(version, "float32")
    workbench.traffic(engine, served, **traffic)


def rows(engine, table, *columns):
    with engine.connect() as connection:
        return connection.execute(select(*(table.c[name] for name in columns))).all()


def test_a_round_learns_proves_and_publishes_a_better_model(settings, base, engine, redis_url):
    answer(settings, engine, base, decisions=DECISIONS)

    with workbench.worker(settings) as worker:
        status = worker.step()

    assert status is Status.PROMOTED
    ((epoch, version, run_id),) = [
        row for row in rows(engine, promotions, "epoch", "version", "run_id") if row.epoch > 1
    ]
    assert epoch == 2
    ((_, produced, n_decisions),) = rows(engine, training_runs, "run_id", "produced", "n_decisions")
    assert (produced, n_decisions) == (version, DECISIONS)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        document = client.hget(Keys.of("default").state, "document")
    secret = settings.secret.get_secret_value().encode()
    assert Live.of_signed(document, secret=secret) == Live(
        line="default", epoch=2, version=version
    )
