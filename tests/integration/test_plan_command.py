"""`rankloop plan`, with and without a log to measure in."""

import json
from math import sqrt
from uuid import uuid4

import numpy as np
import pytest
from scipy.stats import t as student
from sqlalchemy import insert
from typer.testing import CliRunner

from contract.policy import Policy
from contract.tables import evaluations
from tests import logbook
from trainer.plan import Spread
from trainer.plan_command import app

TRAFFIC = ("--rps", "1", "--feedback-rate", "0.05")


@pytest.fixture
def plan(database_url):
    def plan(*arguments, url=database_url):
        return CliRunner().invoke(app, [*TRAFFIC, *arguments], env={"RANKLOOP_DATABASE_URL": url})

    return plan


def test_without_a_database_the_spread_is_assumed_and_says_so(plan):
    told, found = plan(url="").stdout, json.loads(plan("--json", url="").stdout)

    assert "4,320 rewards a day; the first round after 2.8 hours" in told
    assert told.count("assumed") == 2
    assert found["spread"]["change"] == Spread().change
    assert found["first_round_days"] == pytest.approx(500 / 4320)
    assert [row["gain"] for row in found["days_to_a_verdict"]] == [0.01, 0.02, 0.05, 0.1]


def test_a_log_that_is_empty_is_no_log(plan):
    assert json.loads(plan("--json").stdout)["spread"]["units_measured"] == 0


def test_the_spread_of_units_and_of_the_last_verdict_is_measured_in_the_log(plan, engine):
    rng = np.random.default_rng(0)
    with engine.begin() as connection:
        for number in range(240):
            decision_id = logbook.decision(
                connection,
                query="why",
                documents=["a", "b"],
                logits=[1.0, 0.0],
                rng=rng,
                rule=Policy(epsilon=0.25, temperature=1.0),
                session_hash=bytes([number // 2]) * 32,
            )
            logbook.rewarded(connection, decision_id, float(number // 2 % 2))
        connection.execute(
            insert(evaluations).values(
                evaluation_id=uuid4(),
                line="default",
                version="v2",
                champion="base",
                kind="offline",
                estimator="delta-beta-IPS",
                estimate=0.05,
                low=0.02,
                alpha=0.03,
                n=400,
                clusters=300,
                verdict="pass",
                reason="gain",
            )
        )

    spread = json.loads(plan("--json").stdout)["spread"]

    # 120 sessions of two rewards, half of them always 1 and half always 0.
    assert spread["unit"] == pytest.approx(sqrt(0.25 * 120 / 119))
    assert (spread["rewards_of_unit"], spread["units_measured"]) == (2.0, 120)
    error = (0.05 - 0.02) / student.isf(0.03, 299)
    assert spread["change"] == pytest.approx(error * sqrt(400) * sqrt(0.25))
    assert spread["change_measured"]


def test_a_database_that_is_away_is_a_message_and_no_traceback(plan):
    away = plan(url="postgresql+psycopg://nobody@127.0.0.1:9/nowhere")

    assert away.exit_code == 1
    assert away.stderr.startswith("the database says: ")
