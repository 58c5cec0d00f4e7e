"""A trainer is killed for real, at each step of a round, and another one takes the round up."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from contract.store import Store
from contract.tables import promotions, training_runs
from tests import models, trainees, workbench
from trainer import evaluations, exam, export, gate, join, publish, runs
from trainer.candidates import Workshop
from trainer.estimators import Estimate, Evidence
from trainer.gate import Answer, Kind, Verdict
from trainer.runs import Status
from trainer.settings import TrainerSettings

DECISIONS = 200

BEFORE = {
    "reading": (join, "read"),
    "training": (Workshop, "candidates"),
    "storing": (publish, "store_version"),
    "noting": (runs, "note"),
    "judging": (evaluations, "record"),
    "publishing": (publish, "promote"),
    "finishing": (runs, "finish"),
}
"""Where it dies: before this is called. What came before it was done, and nothing after."""


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def promising(_: Evidence) -> Estimate:
    return Estimate(value=0.1, standard_error=0.01, clusters=100)


def convinced(*_: Any, **__: Any) -> Verdict:
    return Verdict(
        kind=Kind.OFFLINE, estimator="none", answer=Answer.PASS, reason="for a test", low=0.1
    )


def believe() -> None:
    """These tests are about what a round survives, not about what it finds."""
    vars(exam)["delta_beta_ips"] = promising
    vars(gate)["offline"] = convinced


def doomed(configuration: dict[str, Any], step: str) -> None:
    """A trainer process that does not survive the step."""
    believe()
    module, name = BEFORE[step]
    setattr(module, name, die)
    with workbench.worker(TrainerSettings(**configuration)) as worker:
        worker.step()


@pytest.fixture(scope="session")
def processes():
    """Children of a clean process that has torch at hand: neither our threads nor our connections go with them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.workbench"])
    return context


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return export.export_base(str(trainees.base(folder / "base")), folder / "version").folder


@pytest.mark.parametrize("step", BEFORE)
def test_a_killed_round_is_taken_up_and_counts_everything_once(
    step, exported, processes, database_url, redis_url, engine, tmp_path, monkeypatch
):
    monkeypatch.setattr(exam, "delta_beta_ips", promising)
    monkeypatch.setattr(gate, "offline", convinced)
    settings = workbench.settings(database_url, redis_url, tmp_path)
    store = Store(settings.artifacts_url)
    base = models.publish(engine, store, exported).version
    served = Workshop(settings, store, threads=1).served(base, "float32")
    with engine.begin() as connection:
        connection.execute(text("UPDATE leases SET expires_at = now() - interval '1 s'"))
    workbench.traffic(engine, served, decisions=DECISIONS)

    child = processes.Process(target=doomed, args=(settings.model_dump(), step))
    child.start()
    child.join()
    with engine.begin() as connection:  # the lease of the dead runs out
        connection.execute(text("UPDATE leases SET expires_at = now() - interval '1 s'"))
    with workbench.worker(settings) as worker:
        status = worker.step()
        nothing_more = worker.step()

    assert child.exitcode == -signal.SIGKILL
    assert (status, nothing_more) == (Status.PROMOTED, None)
    with engine.connect() as connection:
        (run,) = connection.execute(select(training_runs)).all()
        promoted = connection.execute(
            select(promotions).where(promotions.c.run_id.is_not(None))
        ).all()
    assert (run.status, run.n_decisions, run.skipped) == ("promoted", DECISIONS, {})
    assert [(each.epoch, each.version) for each in promoted] == [(2, run.produced)]
    assert no_partial_versions(Path(settings.artifacts_url), {base, run.produced})


def no_partial_versions(folder: Path, known: set[str]) -> bool:
    """Whatever lies in the store beside what was live is complete."""
    store = Store(str(folder))
    return known <= {each.name for each in folder.iterdir()} and all(
        store.fetch(each.name, folder.parent / "checked").exists() for each in folder.iterdir()
    )
