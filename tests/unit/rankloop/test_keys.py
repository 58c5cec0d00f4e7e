from pathlib import Path

import pytest

from rankloop import embedded, keys
from rankloop.home import Home
from rankloop.keys import ServiceMissing
from rankloop.up import CHECKOUT

GIVEN = {
    "RANKLOOP_DATABASE_URL": "postgresql+psycopg://localhost/rankloop",
    "RANKLOOP_SECRET": "sixteen letters!",
}


def test_what_the_environment_says_is_taken(tmp_path: Path):
    environ = keys.environment(Home(path=tmp_path), GIVEN | {"PATH": "/bin"})

    assert environ == GIVEN | {"PATH": "/bin", "PYTHONPATH": str(CHECKOUT)}


def test_without_it_the_home_of_a_loop_knows(tmp_path: Path):
    home = Home(path=tmp_path)
    (tmp_path / "postgres").mkdir()
    secret = home.secret()

    environ = keys.environment(home, {})

    assert environ["RANKLOOP_DATABASE_URL"] == embedded.postgres_url(tmp_path / "postgres")
    assert environ["RANKLOOP_SECRET"] == secret


@pytest.mark.parametrize("half", [["secret"], ["postgres"], []])
def test_where_there_is_no_loop_nothing_is_made_up(tmp_path: Path, half: list[str]):
    for name in half:
        (tmp_path / name).mkdir()

    environ = keys.environment(Home(path=tmp_path), {})

    assert environ == {"PYTHONPATH": str(CHECKOUT)}
    assert [path.name for path in tmp_path.iterdir()] == half


def test_in_an_image_the_service_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "key_commands.py").touch()
    monkeypatch.setattr(keys, "CHECKOUT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)

    assert keys.environment(Home(path=tmp_path), GIVEN)["PYTHONPATH"] == str(tmp_path)


def test_with_the_command_line_alone_there_are_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keys, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ServiceMissing, match="command line alone"):
        keys.environment(Home(path=tmp_path), GIVEN)
