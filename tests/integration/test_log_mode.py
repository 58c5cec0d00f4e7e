"""`rankloop train --log` from beginning to end: the log of a real line, exported and learned from again."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from contract.artifact import MANIFEST, WEIGHTS, Manifest, verified
from contract.store import Store
from contract.tables import evaluations, training_runs
from tests import trainees, workbench
from trainer import export, golden, log_commands, train_commands
from trainer.candidates import Workshop
from trainer.log_files import KEY, SCHEMA

DECISIONS = 500


@pytest.fixture(autouse=True)
def _judged(monkeypatch):
    """The golden set of `workbench.worker`."""
    monkeypatch.setattr(golden, "judged", lambda: workbench.JUDGED)


@pytest.fixture
def settings(database_url, redis_url, tmp_path):
    return workbench.settings(database_url, redis_url, tmp_path)


@pytest.fixture
def base(settings, tmp_path):
    return workbench.start(settings, tmp_path / "base")


@pytest.fixture
def environ(settings):
    """The trainer's settings, as the trainer would be told them."""
    told = {name: value for name, value in settings.public().items() if value is not None} | {
        "database_url": settings.database_url,
        "artifacts_url": settings.artifacts_url,
        "cache_dir": str(settings.cache_dir),
    }
    return {
        f"RANKLOOP_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in told.items()
    }


@pytest.fixture
def run(environ, tmp_path):
    def run(app, *arguments, **changes):
        return CliRunner().invoke(app, [str(each) for each in arguments], env=environ | changes)

    return run


@pytest.fixture
def trained(run, tmp_path):
    def trained(log, *arguments, **changes):
        given = ("--log", log, "--out", tmp_path / "trained", "--threads", "1", *arguments)
        return run(train_commands.app, *given, **changes)

    return trained


@pytest.fixture
def exported(run, tmp_path):
    def exported(name="log"):
        said = run(log_commands.app, tmp_path / name, "--format", "parquet")
        assert said.exit_code == 0, said.output
        return tmp_path / name

    return exported


def answer(settings, engine, version, **traffic):
    served = Workshop(settings, Store(settings.artifacts_url), threads=1).served(version, "float32")
    workbench.traffic(engine, served, **traffic)


def step(settings):
    """Rewards are derived, and a round is run where one is due."""
    with workbench.worker(settings) as worker:
        return worker.step()


def patient(settings):
    """No round is ever due."""
    return settings.model_copy(update={"trainer_round_min_rewards": 10_000})


def test_a_log_teaches_what_the_round_was_taught_and_is_judged_alike(
    settings, base, engine, exported, trained, tmp_path
):
    answer(settings, engine, base, decisions=DECISIONS)
    step(settings)
    with engine.connect() as connection:
        (round_,) = connection.execute(select(training_runs)).all()
        judged = connection.execute(
            select(evaluations).where(evaluations.c.kind == "offline")
        ).one()

    said = trained(exported(), "--base", base)

    assert said.exit_code == 0, said.output
    folder = tmp_path / "trained"
    manifest = Manifest.of_json((folder / "candidate" / MANIFEST).read_bytes())
    verified(folder / "candidate", manifest.version)
    assert (manifest.parent, manifest.run_id) == (base, None)
    promoted = Store(settings.artifacts_url).fetch(round_.produced, tmp_path / "fetched")
    assert (folder / "candidate" / WEIGHTS).read_bytes() == (promoted / WEIGHTS).read_bytes()
    report = json.loads((folder / "report.json").read_text())
    assert (report["decisions"], report["skipped"]) == (round_.n_decisions, round_.skipped)
    ((candidate),) = report["judged"]
    assert [each["kind"] for each in candidate["verdicts"]] == ["parity", "golden", "offline"]
    offline = candidate["verdicts"][-1]
    for name in ("estimate", "low", "alpha", "n", "clusters"):
        assert offline[name] == getattr(judged, name), name
    assert (offline["answer"], report["passes"]) == ("pass", True)
    assert (
        f"version {manifest.version} in {folder / 'candidate'}: the gate passes it" in said.stdout
    )
    assert sorted(path.name for path in folder.iterdir()) == ["candidate", "report.json"]


def test_too_small_a_log_is_judged_and_does_not_pass(
    settings, base, engine, exported, trained, tmp_path
):
    answer(settings, engine, base, decisions=120)
    step(patient(settings))

    said = trained(exported(), RANKLOOP_TRAINER_TUNE_SHARE="0.3")

    assert said.exit_code == 0, said.output
    report = json.loads((tmp_path / "trained" / "report.json").read_text())
    assert report["reference"] == base
    assert not report["passes"]
    written = (tmp_path / "trained" / "candidate").exists()
    assert written is bool(report["judged"])
    told = "the gate does not pass it" if written else "nothing to judge"
    assert told in said.stdout


def test_what_another_version_decided_is_replayed_and_judges_nothing(
    settings, base, engine, exported, trained, tmp_path
):
    answer(settings, engine, base, decisions=60)
    answer(settings, engine, base, decisions=60, seed=1)
    step(patient(settings))
    log = exported()
    changed(log, lambda number, row: {"version": row["version"] if number % 2 else "elsewhere"})

    said = trained(log, "--base", base)

    assert said.exit_code == 0, said.output
    sides = json.loads((tmp_path / "trained" / "report.json").read_text())["sides"]
    # Of 120 queries half may tune or judge, where the base decided: about 30. All others train.
    assert 15 < sides["tune"] + sides["judge"] < 45
    assert sides["train"] == 120 - sides["tune"] - sides["judge"]


def test_a_version_may_be_a_folder(settings, base, engine, exported, trained, tmp_path):
    answer(settings, engine, base, decisions=120)
    step(patient(settings))
    folder = Store(settings.artifacts_url).fetch(base, tmp_path / "fetched")

    said = trained(exported(), "--base", folder, RANKLOOP_ARTIFACTS_URL="")

    assert said.exit_code == 0, said.output
    assert f"from {base[:12]}" in said.stdout


def test_a_version_that_decided_nothing_is_refused(
    settings, base, engine, exported, trained, tmp_path
):
    answer(settings, engine, base, decisions=20)
    step(patient(settings))
    other = export.export_base(
        str(trainees.base(tmp_path / "other", seed=3)),
        tmp_path / "version",
        precisions=["float32"],
    )

    said = trained(exported(), "--base", other.folder)

    assert said.exit_code == 1
    assert f"no decision by {other.manifest.version[:12]}" in said.stderr
    assert f"20 by {base[:12]}" in said.stderr
    assert not (tmp_path / "trained").exists()


def test_a_log_whose_propensities_are_wrong_is_refused(settings, base, engine, exported, trained):
    answer(settings, engine, base, decisions=90)
    step(patient(settings))
    log = exported()
    changed(
        log,
        lambda number, row: (
            {"cum_log_propensity": [-9.0] * len(row["shown"])} if not number else {}
        ),
    )

    said = trained(log)

    assert said.exit_code == 1
    assert "1 of 90 decisions log a propensity that is not theirs" in said.stderr


def changed(path, change):
    """Every row with other values, and the file otherwise as it was."""
    said = pq.read_metadata(path).metadata[KEY]
    rows = pq.read_table(path).to_pylist()
    changed = [row | change(number, row) for number, row in enumerate(rows)]
    with pq.ParquetWriter(path, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(changed, schema=SCHEMA))
        writer.add_key_value_metadata({KEY: said})
