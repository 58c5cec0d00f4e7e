"""`python -m trainer`: improves a line until SIGTERM or Ctrl-C; with `--once` it polls one time and ends.

`torchrun --nproc-per-node N -m trainer` does so with N processes.
"""

import argparse
import logging
import os
import signal
import sys
from types import FrameType
from typing import Final

import redis
import torch
from prometheus_client import start_http_server
from pydantic import ValidationError
from sqlalchemy import create_engine

from contract.environment import cores
from contract.store import Store
from trainer import golden
from trainer.candidates import Workshop
from trainer.golden import GoldenSet
from trainer.lease import Lease
from trainer.metrics import Metrics
from trainer.ranks import Ranks
from trainer.rounds import Context
from trainer.settings import TrainerSettings
from trainer.train import Task
from trainer.worker import Ending, Worker

logger = logging.getLogger("trainer")

ENDING: Final = Ending()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--once", action="store_true", help="poll one time and end")
    once = parser.parse_args().once
    try:
        settings = TrainerSettings()
    except ValidationError as error:
        sys.stderr.write("".join(f"{problem['msg']}\n" for problem in error.errors()))
        return 2
    os.nice(settings.trainer_nice)
    ranks = Ranks.joined()
    threads = settings.trainer_threads or max(1, cores() // ranks.on_this_machine)
    torch.set_num_threads(threads)
    if ranks.is_first:
        run(settings, ranks, threads=threads, once=once)
    else:
        train_along(settings, ranks, threads=threads)
    return 0


def train_along(settings: TrainerSettings, ranks: Ranks, *, threads: int) -> None:
    """The whole life of another rank: it trains what the first one gives it."""
    store = Store(settings.artifacts_url)
    workshop = Workshop(settings, store, threads=threads, ranks=ranks)
    logger.info("trainer.joined rank=%d of=%d", ranks.rank, ranks.size)
    for task in ranks.tasks():
        assert isinstance(task, Task)  # noqa: S101 -- the first rank sends nothing else
        workshop.follow(task)
    logger.info("trainer.dismissed rank=%d", ranks.rank)


def run(settings: TrainerSettings, ranks: Ranks, *, threads: int, once: bool) -> None:
    """The whole life of the process; a round that runs when it is told to end is taken up at the next start."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    metrics = Metrics()
    server, thread = start_http_server(
        settings.trainer_metrics_port, addr=settings.trainer_metrics_host, registry=metrics.registry
    )
    logger.info("trainer.started line=%s metrics_port=%d", settings.line, server.server_port)
    try:
        work(settings, metrics, ranks, threads=threads, once=once)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        logger.info("trainer.stopped")


def work(
    settings: TrainerSettings, metrics: Metrics, ranks: Ranks, *, threads: int, once: bool
) -> None:
    """Polls for ever, or one time."""
    engine = create_engine(settings.database_url, pool_pre_ping=True)
    store = Store(settings.artifacts_url)
    context = Context(
        settings=settings,
        engine=engine,
        store=store,
        workshop=Workshop(settings, store, threads=threads, ranks=ranks),
        golden=GoldenSet(golden.judged()),
        metrics=metrics,
    )
    with (
        redis.Redis.from_url(settings.redis_url, socket_timeout=5) as client,
        Lease(engine, settings.line, ttl_s=settings.trainer_lease_s) as lease,
    ):
        worker = Worker(context, client, lease)
        if once:
            worker.step()
            ranks.dismiss()
        else:
            worker.run(ENDING)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Once: stopping is on its way."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ENDING.is_due = True
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
