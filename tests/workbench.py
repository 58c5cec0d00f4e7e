"""A trainer in a test: the real worker over real servers, and the traffic that its starting model has answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import redis
import torch
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, insert

from contract.policy import Policy
from contract.records import Candidate
from contract.store import Store
from contract.tables import answers, feedback
from tests import logbook, trainees
from trainer import register
from trainer.candidates import Workshop
from trainer.gate import Judged
from trainer.golden import GoldenSet
from trainer.lease import Lease
from trainer.metrics import Metrics
from trainer.rounds import Context
from trainer.scoring import Served
from trainer.settings import TrainerSettings
from trainer.worker import Worker

JUDGED = tuple(
    Judged(
        query=query,
        candidates=tuple(Candidate(text=text) for text in ("red", "sun", "old sea")),
        gains=(1.0, 1.0, 1.0),
    )
    for query in ("red sun", "old sun")
)
"""Nothing can be ranked badly here: these tests are about the rest of a round."""


def settings(database_url: str, redis_url: str, folder: Path, **values: Any) -> TrainerSettings:
    """Small models learn quickly and from little."""
    defaults: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "artifacts_url": str(folder / "artifacts"),
        "cache_dir": folder / "cache",
        "secret": SecretStr("a secret for tests"),
        "trainer_reward_wait_s": 1.0,
        "trainer_round_min_rewards": 100,
        "trainer_round_growth": 1.0,
        "trainer_threads": 1,
        "trainer_tune_share": 0.15,
        "trainer_gate_share": 0.35,
        "trainer_last_layer_lr": 3e-3,
        "trainer_last_layer_epochs": 3,
        "trainer_kl": (0.3,),
        "trainer_capacities": ("last_layer",),
        "trainer_precisions": ("float32",),
        "trainer_metrics_port": 0,
        "trainer_lease_s": 2.0,
    }
    return TrainerSettings(**(defaults | values))


@contextmanager
def worker(configuration: TrainerSettings) -> Iterator[Worker]:
    """As `python -m trainer` wires it."""
    torch.set_num_threads(1)
    engine = create_engine(configuration.database_url)
    store = Store(configuration.artifacts_url)
    context = Context(
        settings=configuration,
        engine=engine,
        store=store,
        workshop=Workshop(configuration, store, threads=1),
        golden=GoldenSet(JUDGED),
        metrics=Metrics(),
    )
    with (
        redis.Redis.from_url(configuration.redis_url) as client,
        Lease(engine, configuration.line, ttl_s=configuration.trainer_lease_s) as lease,
    ):
        yield Worker(context, client, lease)
    engine.dispose()


def start(configuration: TrainerSettings, folder: Path) -> str:
    """A line with a tiny cross-encoder as its base."""
    return register.register(configuration, base=str(trainees.base(folder)))


def traffic(
    engine: Engine,
    served: Served,
    *,
    decisions: int,
    seed: int = 0,
    ago_s: float = 600.0,
    sources: int = 1,
    flipped: int = 0,
    flooded: bool = False,
    documents: int | None = None,
) -> None:
    """Requests answered by this version, most of them explored; who shows "new" first is rewarded.

    Of several sources, which take turns, the first ones may say the opposite, or the very first speak half of the time;
    of so many documents each comes again and again.
    """
    rng = np.random.default_rng(seed)
    pool = [" ".join(rng.choice(trainees.WORDS, size=3)) for _ in range(documents or 0)]
    rule = Policy(epsilon=0.9, temperature=served.temperature)
    decided, said = [], []
    for number in range(decisions):
        query = " ".join(rng.choice(trainees.WORDS, size=4))
        offered = _offered(rng, pool)
        row = logbook.decision_row(
            query=query,
            documents=offered,
            logits=served.logits(query, [Candidate(text=text) for text in offered]).tolist(),
            rng=rng,
            rule=rule,
            ago_s=ago_s - number / 100,
            version=served.version,
            precision=served.precision,
        )
        source = (number // 2 * (number % 2) if flooded else number) % sources
        value = float(("new" in offered[row["shown"][0]]) is not (source < flipped))
        decided.append(row)
        said.append(
            logbook.said_row(row["decision_id"], value, source_id=f"source-{source}"),
        )
    with engine.begin() as connection:
        decision_ids = logbook.write_decisions(connection, decided)
        connection.execute(insert(answers), [logbook.answer_row(i, used_k=1) for i in decision_ids])
        connection.execute(insert(feedback), said)


def _offered(rng: np.random.Generator, pool: list[str]) -> list[str]:
    if pool:
        return [str(each) for each in rng.choice(pool, size=trainees.CANDIDATES, replace=False)]
    return [" ".join(rng.choice(trainees.WORDS, size=3)) for _ in range(trainees.CANDIDATES)]
