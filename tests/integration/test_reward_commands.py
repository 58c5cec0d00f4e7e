"""`rankloop rewards` over a real database."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.rewards import RewardSpec
from tests import logbook
from trainer import rewards
from trainer.reward_commands import app


@pytest.fixture
def run(database_url):
    def run(*arguments, **environment):
        named = {"RANKLOOP_DATABASE_URL": database_url} | environment
        return CliRunner().invoke(app, [str(each) for each in arguments], env=named)

    return run


@pytest.fixture
def decision_id(engine):
    with engine.begin() as connection:
        return logbook.decision(
            connection,
            query="why",
            documents=["a", "b"],
            logits=[1.0, 0.0],
            rng=np.random.default_rng(0),
        )


def test_a_decision_is_explained_by_what_was_said_of_it(run, engine, decision_id):
    verdicts = {
        version: {
            "rubric": {"id": "quality", "version": version},
            "model": "small",
            "sampling_probability": 0.5,
        }
        for version in ("1", "2")
    }
    with engine.begin() as connection:
        for version, value in (("1", 0.25), ("2", 0.75)):
            logbook.said(
                connection,
                decision_id,
                value,
                name="quality",
                source_type="LLM_JUDGE",
                judge=verdicts[version],
                occurred_at=datetime(2026, 1, int(version), tzinfo=UTC),
            )
        spec = rewards.registered(connection, RewardSpec(wait_s=60.0))
        rewards.derive(connection, spec, line="default", now=datetime.now(UTC))

    found = json.loads(run("explain", decision_id, "--json").stdout)
    table = run("explain", decision_id).stdout

    assert found["reward"]["value"] == found["stored"] == 0.75
    assert (found["revision"], found["spec"]["wait_s"]) == (1, 60.0)
    assert {each["judge"]: each["fate"] for each in found["statements"]} == {
        "quality@1 small": "earlier_judge",
        "quality@2 small": "counts",
    }
    assert "reward 0.75, standing for 2 decisions; stored as revision 1: 0.75" in table


def test_nothing_said_is_unobserved_and_not_zero(run, decision_id):
    told = run("explain", decision_id).stdout

    assert "nobody said what counts: unobserved, not zero; no reward is stored yet" in told


def test_another_spec_can_be_tried_on_a_decision(run, engine, decision_id, tmp_path):
    with engine.begin() as connection:
        logbook.said(connection, decision_id, 0.5, name="stars")
    spec = tmp_path / "spec.yaml"
    spec.write_text("names: [stars]")

    asked = json.loads(run("explain", decision_id, "--spec", spec, "--json").stdout)
    of_the_trainer = json.loads(
        run("explain", decision_id, "--json", RANKLOOP_TRAINER_REWARD_SPEC=str(spec)).stdout
    )
    built_in = json.loads(run("explain", decision_id, "--json").stdout)

    assert asked["reward"]["value"] == of_the_trainer["reward"]["value"] == 0.5
    assert built_in["statements"][0]["fate"] == "unknown_name"


def test_an_unknown_decision_is_a_message_and_no_traceback(run):
    unknown = uuid4()

    result = run("explain", unknown)

    assert (result.exit_code, result.stderr) == (1, f"no decision {unknown} is stored\n")


def test_a_database_that_is_not_named_is_a_message(run):
    result = run("explain", uuid4(), RANKLOOP_DATABASE_URL="")

    assert result.exit_code == 1
    assert "RANKLOOP_DATABASE_URL" in result.stderr


def test_a_file_is_checked_without_a_database(run, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("{names: [thumb], combine: mean, multipliers: []}")
    bad.write_text("combine: median")

    told, definition, refused = run("check", good), run("check", good, "--json"), run("check", bad)

    assert told.stdout.startswith("the mean of the first of thumb; by HUMAN before END_USER")
    assert json.loads(definition.stdout)["names"] == ["thumb"]
    assert (refused.exit_code, "combine: Input should be" in refused.stderr) == (1, True)
