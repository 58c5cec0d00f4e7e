"""`python -m trainer` as `rankloop up` starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environ(database_url, redis_url, tmp_path):
    return os.environ | {
        "RANKLOOP_DATABASE_URL": database_url,
        "RANKLOOP_REDIS_URL": redis_url,
        "RANKLOOP_ARTIFACTS_URL": str(tmp_path / "artifacts"),
        "RANKLOOP_CACHE_DIR": str(tmp_path / "cache"),
        "RANKLOOP_SECRET": "a secret for tests",
        "RANKLOOP_TRAINER_METRICS_PORT": "0",
        "RANKLOOP_TRAINER_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def start(environ, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", *arguments],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_ends_cleanly_when_told_to(environ):
    with start(environ) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "lease.changed" in line)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert "token=1" in said
    assert "trainer.stopped" in rest
    assert process.returncode == 0


def test_once_is_one_poll_even_without_a_model(environ):
    with start(environ, "--once") as process:
        output, _ = process.communicate()

    assert "trainer.stopped" in output
    assert process.returncode == 0


def test_a_misspelt_setting_is_refused_by_name(environ, monkeypatch, capsys):
    for name, value in (environ | {"RANKLOOP_TRAINER_KLL": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["trainer", "--once"])

    assert main() == 2

    assert "unknown settings: RANKLOOP_TRAINER_KLL" in capsys.readouterr().err
