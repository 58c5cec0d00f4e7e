"""`rankloop export-log` over a real database."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from contract.policy import Policy
from contract.rewards import RewardSpec
from tests import logbook
from trainer import join, log_export, rewards
from trainer.examples import Example
from trainer.log_commands import app
from trainer.log_files import LogFile

TREE = Path(__file__).parents[2]
DOCUMENTS = ["a", "b", "c"]
LOGITS = [0.5, 1.5, -1.0]
WRONG = [-9.0, -9.5, -9.5]
DYING = """
import os, signal, sys
from trainer import log_files
from trainer.log_commands import app
log_files.{writer}.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
app(sys.argv[1:])
"""


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def export(database_url, tmp_path):
    def export(*arguments, name="log", format_="parquet", **environment):
        given = [str(tmp_path / "out" / name), "--format", format_, *arguments]
        named = {"RANKLOOP_DATABASE_URL": database_url} | environment
        return CliRunner().invoke(app, given, env=named)

    (tmp_path / "out").mkdir()
    return export


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def decided(connection, rng, *, query="why", **columns):
    return logbook.decision(
        connection, query=query, documents=DOCUMENTS, logits=LOGITS, rng=rng, **columns
    )


def plain(value):
    """What two examples are compared by: arrays as their type and their numbers."""
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    return tuple(map(plain, value)) if type(value) is tuple else value


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_exported_is_what_a_round_reads(export, engine, rng, out):
    with engine.begin() as connection:
        plenty = decided(
            connection,
            rng,
            tenant="acme",
            candidate_keys=["x", None, "z"],
            first_stage_scores=[3.0, None, 1.0],
            span_starts=[0, 0, 0],
            span_ends=[1, None, 1],
            precision="int8",
            epoch=4,
        )
        logbook.answer(connection, plenty, used_k=2, citations=[1], model="a model")
        logbook.said(connection, plenty, 0.75, source_id="one")
        logbook.said(connection, plenty, 0.9, name="utility", document=1, source_id="two")
        logbook.rewarded(
            connection, plenty, 0.75, credits=[None, 0.9, None], observation=0.3, tenant="acme"
        )
        bounded = decided(connection, rng, rule=Policy(epsilon=0.2, temperature=0.3, max_fall=1))
        logbook.rewarded(connection, bounded, 0.1)
        revised = decided(connection, rng, query="revised", arm="canary", version="other")
        logbook.rewarded(connection, revised, 1.0)
        logbook.rewarded(connection, revised, 0.2, revision=2)

    said = export()

    with engine.connect() as connection:
        window = join.closed(connection, "default", RewardSpec())
        by_a_round = join.read(connection, window, limit=100).examples
    assert (said.exit_code, said.stdout) == (0, f"3 decisions in {out / 'log'}\n")
    found = list(LogFile.open(out / "log").read(champion="base", newest=100))
    # A round knows by its window what is new, a file by whose decision it is.
    expected = [
        dataclasses.replace(each, fresh=each.decision.version == "base") for each in by_a_round
    ]
    assert [each.decision.query for each in expected] == ["why", "why", "revised"]
    assert list(map(plain, found)) == list(map(plain, expected))
    assert names(out) == ["log"]


def test_what_was_left_out_is_told_and_kept_with_the_file(export, engine, rng, out):
    with engine.begin() as connection:
        logbook.rewarded(connection, decided(connection, rng), 1.0)
        for _ in range(2):
            logbook.rewarded(connection, decided(connection, rng), None)
        pinned = decided(connection, rng, not_learnable="pinned", arm="pinned")
        logbook.rewarded(connection, pinned, 1.0)
        logbook.rewarded(connection, decided(connection, rng, query="erased"), 1.0)
        connection.execute(text("UPDATE texts SET body = NULL WHERE body = 'erased'"))

    said = export()

    log = LogFile.open(out / "log")
    assert (log.decisions, log.about.line) == (1, "default")
    assert log.about.skipped == {"withdrawn": 2, "not_learnable": 1, "text_missing": 1}
    assert "1 decisions in" in said.stdout
    assert "2 withdrawn" in said.stdout


def test_a_line_is_exported_by_the_newest_spec(export, engine, rng, out):
    with engine.begin() as connection:
        decision_id = decided(connection, rng, line="shop")
        spec = rewards.registered(connection, RewardSpec(id="ours", names=("stars",)))
        logbook.rewarded(connection, decision_id, 0.0, line="shop")
        logbook.rewarded(
            connection,
            decision_id,
            0.75,
            line="shop",
            spec_id=spec.id,
            spec_version=spec.version,
        )

    said = [export("--line", "shop"), export(name="other")]

    assert [each.exit_code for each in said] == [0, 1]
    log = LogFile.open(out / "log")
    found = log.read(champion="base", newest=9)
    assert [each.reward for each in found if isinstance(each, Example)] == [0.75]
    assert (log.about.line, log.about.spec["id"]) == ("shop", "ours")


def test_the_log_is_written_a_few_decisions_at_a_time_oldest_first(
    export, engine, rng, out, monkeypatch
):
    monkeypatch.setattr(log_export, "ROWS", 2)
    with engine.begin() as connection:
        for ago in (100.0, 300.0, 200.0, 500.0, 400.0):
            logbook.rewarded(connection, decided(connection, rng, query=f"{ago}", ago_s=ago), 1.0)

    export()

    with pq.ParquetFile(out / "log") as file:
        groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
        queries = file.read(columns=["query"]).column("query").to_pylist()
    assert groups == [2, 2, 1]
    assert queries == ["500.0", "400.0", "300.0", "200.0", "100.0"]


@pytest.mark.parametrize("format_", ["parquet", "obp"])
def test_a_log_with_wrong_propensities_is_not_exported(export, engine, rng, out, format_):
    with engine.begin() as connection:
        for _ in range(90):
            logbook.rewarded(connection, decided(connection, rng), 1.0)
        logbook.rewarded(connection, decided(connection, rng, cum_log_propensity=WRONG), 1.0)

    said = export(format_=format_)

    assert said.exit_code == 1
    assert "1 of 91 decisions log a propensity that is not theirs" in said.stderr
    assert names(out) == []


@pytest.mark.parametrize("format_", ["parquet", "obp"])
@pytest.mark.parametrize("rewarded", [True, False])
def test_where_there_is_nothing_to_export_no_file_is_left(
    export, engine, rng, out, format_, rewarded
):
    with engine.begin() as connection:
        decision_id = decided(connection, rng)
        if rewarded:
            logbook.rewarded(connection, decision_id, None)

    said = export(format_=format_)

    assert said.exit_code == 1
    assert "line default has no decision that is rewarded by answer_quality@1" in said.stderr
    assert ("1 withdrawn" in said.stderr) is rewarded
    assert names(out) == []


def test_an_export_that_is_killed_leaves_no_file_of_that_name(
    export, engine, rng, out, database_url
):
    with engine.begin() as connection:
        logbook.rewarded(connection, decided(connection, rng), 1.0)

    killed = subprocess.run(
        [
            *(sys.executable, "-c", DYING.format(writer="LogWriter")),
            *(out / "log", "--format", "parquet"),
        ],
        cwd=TREE,
        env=os.environ | {"RANKLOOP_DATABASE_URL": database_url},
        check=False,
    )
    after = names(out)
    again = export()

    assert killed.returncode == -signal.SIGKILL
    assert after == [".log.draft"]
    assert again.exit_code == 0
    assert names(out) == ["log"]


def test_an_export_that_fails_keeps_the_file_that_was_there(export, engine, rng, out):
    (out / "log").write_text("of yesterday")

    said = export()

    assert said.exit_code == 1
    assert (out / "log").read_text() == "of yesterday"
    assert names(out) == ["log"]


def test_the_bandit_feedback_of_a_line_is_what_was_shown_first(export, engine, rng, out):
    # Logits of odds 1 to 3: the second document is first with .5 + .5 * .75, the other one with .125.
    odds = np.log([1.0, 3.0]).tolist()
    with engine.begin() as connection:
        for shown, propensity, reward in (([1, 0], 0.875, 1.0), ([0, 1], 0.125, 0.5)):
            decision_id = logbook.decision(
                connection,
                query="why",
                documents=["a", "b"],
                logits=odds,
                rng=rng,
                shown=shown,
                cum_log_propensity=np.log([propensity, propensity]).tolist(),
            )
            logbook.rewarded(connection, decision_id, reward)
        logbook.rewarded(connection, decided(connection, rng), None)

    said = export(format_="obp", name="feedback.npz")

    assert said.stdout == f"2 decisions in {out / 'feedback.npz'}; left out: 1 withdrawn\n"
    with np.load(out / "feedback.npz", allow_pickle=False) as file:
        feedback = dict(file)
    assert sorted(feedback) == [
        *("about", "action", "action_context", "context", "n_actions", "n_rounds"),
        *("pi_b", "position", "pscore", "reward", "weight"),
    ]
    # Three ranks, as a decision of three documents is in the log, although it is left out.
    assert (int(feedback["n_rounds"]), int(feedback["n_actions"])) == (2, 3)
    assert feedback["action"].tolist() == [0, 1]
    assert feedback["pscore"] == pytest.approx([0.875, 0.125])
    assert feedback["reward"].tolist() == [1.0, 0.5]
    assert feedback["pi_b"][:, :, 0] == pytest.approx(np.array([[0.875, 0.125, 0.0]] * 2))
    assert json.loads(str(feedback["about"]))["skipped"] == {"withdrawn": 1}
    assert names(out) == ["feedback.npz"]


def test_a_database_that_is_not_named_is_a_message(export):
    said = export(RANKLOOP_DATABASE_URL="")

    assert said.exit_code == 1
    assert "RANKLOOP_DATABASE_URL" in said.stderr


def test_a_database_that_is_away_is_a_message_and_no_traceback(export, out):
    said = export(RANKLOOP_DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:9/nowhere")

    assert said.exit_code == 1
    assert said.stderr.startswith("the database says: ")
    assert names(out) == []


@pytest.mark.parametrize("format_", ["parquet", "obp"])
def test_a_folder_that_is_not_there_is_a_message(export, engine, rng, format_):
    with engine.begin() as connection:
        logbook.rewarded(connection, decided(connection, rng), 1.0)

    said = export(format_=format_, name="nowhere/log")

    assert said.exit_code == 1
    assert "nowhere/log: No such file or directory" in said.stderr
