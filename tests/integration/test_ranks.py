"""`torchrun -m trainer`: two processes make the model of one, and the first alone judges and publishes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
from sqlalchemy import select

from contract.artifact import WEIGHTS
from contract.store import Store
from contract.tables import model_versions, training_runs
from tests import workbench
from trainer import golden, rounds, runs
from trainer.candidates import Workshop
from trainer.golden import GoldenSet

ROOT = Path(__file__).parents[2]
DECISIONS = 400
SAME = 2e-5
"""Largest difference of a weight: the halves of a batch are summed in another order, which float32 rounds at the
seventh digit in each of some twenty steps of AdamW (2e-6 was seen). Training moves them by a hundred times as much."""
UNSEEN = {"fusion.bias", "encoder.classifier.classifier.bias"}
"""The same for every document: no ranking changes with them, their gradient is rounding and nothing else, and AdamW
makes steps of it."""


@pytest.fixture(params=["last_layer", "lora"])
def settings(request, database_url, redis_url, tmp_path):
    return workbench.settings(
        database_url,
        redis_url,
        tmp_path,
        trainer_capacities=(request.param,),
        trainer_lora_lr=3e-3,
        trainer_lora_min_rewards=1,
    )


@pytest.fixture
def base(settings, engine, tmp_path):
    version = workbench.start(settings, tmp_path / "base")
    store = Store(settings.artifacts_url)
    served = Workshop(settings, store, threads=1).served(version, "float32")
    workbench.traffic(engine, served, decisions=DECISIONS)
    return version


def environ(settings):
    told = settings.public() | {
        "database_url": settings.database_url,
        "redis_url": settings.redis_url,
        "artifacts_url": settings.artifacts_url,
        "cache_dir": str(settings.cache_dir),
        "secret": settings.secret.get_secret_value(),
    }
    return os.environ | {
        f"RANKLOOP_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in told.items()
        if value is not None
    }


def torchrun(settings, *, ranks):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    return subprocess.run(
        [sys.executable, *launcher, "-m", "trainer", "--once"],
        cwd=ROOT,
        env=environ(settings),
        capture_output=True,
        text=True,
        check=False,
    )


def retrained(settings, run, folder):
    """What one process makes of the window of a round, in a workshop of its own."""
    with workbench.worker(settings.model_copy(update={"cache_dir": folder})) as worker:
        context = worker._context
        sides = rounds._read(context, run)
        made = context.workshop.candidates(
            run.champion,
            sides,
            golden=GoldenSet(golden.judged()),
            seed=run.seed,
            run_id=str(run.id),
        )
        return [(candidate.version, weights(version)) for candidate, version in made]


def test_two_ranks_train_what_one_trains_and_one_trains_it_alike_each_time(
    settings, base, engine, tmp_path
):
    done = torchrun(settings, ranks=2)

    assert done.returncode == 0, done.stderr
    assert "trainer.joined rank=1 of=2" in done.stderr
    assert done.stderr.count("round.started") == 1
    with engine.connect() as connection:
        (row,) = connection.execute(select(training_runs)).all()
        candidates = select(model_versions.c.version).where(model_versions.c.run_id == row.run_id)
        (version,) = connection.execute(candidates).scalars().all()
    store = Store(settings.artifacts_url)
    start, theirs = (weights(store.fetch(each, tmp_path / "stored")) for each in (base, version))
    (one, own), (again, _) = (
        made for name in "ab" for made in retrained(settings, runs._run(row), tmp_path / name)
    )
    assert one == again  # a version is named by the hash of its files: not one bit differs
    assert largest(own, start) > 100 * SAME
    assert largest(own, theirs) < SAME
    assert own.keys() == theirs.keys() > UNSEEN


def weights(folder):
    return safetensors.torch.load_file(folder / WEIGHTS)


def largest(own, others):
    """The largest difference of a weight."""
    return max(
        float((tensor - others[name]).abs().max())
        for name, tensor in own.items()
        if name not in UNSEEN
    )
