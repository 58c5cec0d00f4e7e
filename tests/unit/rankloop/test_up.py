import socket
from pathlib import Path

import pytest

from rankloop import up
from rankloop.home import Home
from rankloop.up import CannotStart, Databases

DATABASES = Databases(database_url="postgresql+psycopg://ours", redis_url="redis://ours", kept=())


def test_a_busy_port_is_refused_with_a_way_out() -> None:
    with socket.create_server((up.HOST, 0)) as taken, pytest.raises(CannotStart, match="--port"):
        up.refuse_busy(taken.getsockname()[1])


def test_a_free_port_is_free() -> None:
    up.refuse_busy(up.free_port())


def test_without_a_checkout_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "CHECKOUT", tmp_path)

    with pytest.raises(CannotStart, match="checkout"):
        up.refuse_without_checkout()


def test_children_share_addresses_and_secret(tmp_path: Path) -> None:
    environ = up.environment(Home(path=tmp_path), DATABASES, port=8123)

    assert environ["RANKLOOP_DATABASE_URL"] == DATABASES.database_url
    assert environ["RANKLOOP_SERVICE_PORT"] == "8123"
    assert environ["RANKLOOP_JUDGE_SERVICE_URL"] == "http://127.0.0.1:8123"
    assert environ["RANKLOOP_SECRET"] == Home(path=tmp_path).secret()
    assert environ["RANKLOOP_ARTIFACTS_URL"] == str(tmp_path / "artifacts")


def test_what_the_environment_says_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_ARTIFACTS_URL", "s3://bucket")
    monkeypatch.setenv("RANKLOOP_SERVICE_EPSILON", "0.5")

    environ = up.environment(Home(path=tmp_path), DATABASES, port=8123)

    assert environ["RANKLOOP_ARTIFACTS_URL"] == "s3://bucket"
    assert environ["RANKLOOP_SERVICE_EPSILON"] == "0.5"
