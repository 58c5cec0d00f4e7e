from pathlib import Path

import pytest

from rankloop.embedded import HomeInUse
from rankloop.home import Home, last_lines


def test_a_home_has_one_loop_at_a_time(tmp_path: Path) -> None:
    with Home(path=tmp_path).held(), pytest.raises(HomeInUse, match="--home"):
        Home(path=tmp_path).held().__enter__()

    with Home(path=tmp_path).held():
        pass


def test_the_secret_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    secret = Home(path=tmp_path).secret()

    assert Home(path=tmp_path).secret() == secret
    assert len(secret) >= 16
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


def test_homes_have_secrets_of_their_own(tmp_path: Path) -> None:
    secrets = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        secrets.add(Home(path=tmp_path / name).secret())

    assert len(secrets) == 2


def test_the_end_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo \xff\nthree\n")

    assert last_lines(log, n=2) == "two \N{REPLACEMENT CHARACTER}\nthree"
