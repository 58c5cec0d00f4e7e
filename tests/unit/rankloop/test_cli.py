from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankloop import up
from rankloop.cli import app

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "command",
    [
        *("up", "status", "why", "rollback", "promote", "canary", "hold-back"),
        *("freeze", "unfreeze", "quarantine", "rebuild"),
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])

    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("command", [["status"], ["why"], ["rollback", "--reason", "worse"]])
def test_nobody_at_the_address_is_a_message_and_no_traceback(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--url", NOWHERE])

    assert result.exit_code == 1
    assert result.output.startswith(f"no Rankloop answers at {NOWHERE}")


@pytest.mark.parametrize("command", [["up"], ["demo", "--headless"]])
def test_an_installation_without_the_tree_says_what_is_missing(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "CHECKOUT", tmp_path)

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 1
    assert "from a checkout of Rankloop" in result.output


def test_a_rollback_wants_a_reason() -> None:
    result = CliRunner().invoke(app, ["rollback", "--url", NOWHERE])

    assert result.exit_code == 2
    assert "--reason" in result.output
