from pathlib import Path

import pytest

from rankloop import embedded, tree
from rankloop.home import Home
from rankloop.tree import CommandMissing
from rankloop.up import CHECKOUT

KEYS = "service.key_commands"
GIVEN = {
    "RANKLOOP_DATABASE_URL": "postgresql+psycopg://localhost/rankloop",
    "RANKLOOP_SECRET": "sixteen letters!",
}


def test_what_the_environment_says_is_taken(tmp_path: Path):
    environ = tree.environment(KEYS, Home(path=tmp_path), GIVEN | {"PATH": "/bin"})

    assert environ == GIVEN | {"PATH": "/bin", "PYTHONPATH": str(CHECKOUT)}


def test_without_it_the_home_of_a_loop_knows(tmp_path: Path):
    home = Home(path=tmp_path)
    (tmp_path / "postgres").mkdir()
    secret = home.secret()

    environ = tree.environment(KEYS, home, {})

    assert environ["RANKLOOP_DATABASE_URL"] == embedded.postgres_url(tmp_path / "postgres")
    assert environ["RANKLOOP_SECRET"] == secret
    assert environ["RANKLOOP_ARTIFACTS_URL"] == str(home.artifacts)
    assert environ["RANKLOOP_CACHE_DIR"] == str(home.cache)


@pytest.mark.parametrize("half", [["secret"], ["postgres"], []])
def test_where_there_is_no_loop_nothing_is_made_up(tmp_path: Path, half: list[str]):
    for name in half:
        (tmp_path / name).mkdir()

    environ = tree.environment(KEYS, Home(path=tmp_path), {})

    assert environ == {"PYTHONPATH": str(CHECKOUT)}
    assert [path.name for path in tmp_path.iterdir()] == half


def test_in_an_image_the_code_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "key_commands.py").touch()
    monkeypatch.setattr(tree, "CHECKOUT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)

    assert tree.environment(KEYS, Home(path=tmp_path), GIVEN)["PYTHONPATH"] == str(tmp_path)


def test_with_the_command_line_alone_there_is_no_such_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tree, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CommandMissing, match="command line alone"):
        tree.environment(KEYS, Home(path=tmp_path), GIVEN)
