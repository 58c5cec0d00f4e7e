"""`python -m judge`: judges and replays until SIGTERM or Ctrl-C; without an LLM it idles, and says so once."""

import asyncio
import logging
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from prometheus_client import start_http_server
from pydantic import ValidationError
from pydantic_settings import SettingsError

from judge.brief import Brief
from judge.judging import Answers
from judge.llm import Llm
from judge.metrics import Metrics
from judge.opinions import Judge
from judge.probes import Breaker
from judge.queue import Queue
from judge.reader import Reader
from judge.refusals import in_words
from judge.replay_queue import ReplayQueue
from judge.replaying import Replays
from judge.rubric import RubricRefused
from judge.selfcheck import SelfCheck
from judge.settings import JudgeSettings
from judge.state import State
from judge.template import TemplateRefused
from judge.worker import Worker

logger = logging.getLogger("judge")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # A line for each poll and each call, with its address.
    for chatty in ("httpx", "httpx2", "openai"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        brief = Brief.of(JudgeSettings())
        with State.opened(brief.settings.state):
            pass
    except ValidationError as error:
        return _refused(in_words(error))
    except (SettingsError, RubricRefused, TemplateRefused) as refusal:
        return _refused(str(refusal))
    except (OSError, sqlite3.Error) as error:
        return _refused(f"RANKLOOP_JUDGE_STATE: {error}")
    asyncio.run(run(brief))
    return 0


def _refused(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 2


async def run(brief: Brief) -> None:
    """The whole life of the process."""
    settings = brief.settings
    stop = _stopped_by_signals()
    metrics = Metrics()
    server, thread = start_http_server(
        settings.metrics_port, addr=settings.metrics_host, registry=metrics.registry
    )
    logger.info("judge.started metrics_port=%d", server.server_port)
    try:
        if settings.llm_url is None:
            logger.info("judge.idle reason=RANKLOOP_JUDGE_LLM_URL is not set")
            await stop.wait()
        else:
            metrics.configured.set(1)
            async with crew(brief, metrics) as worker:
                await work(worker, stop)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    logger.info("judge.stopped")


async def work(worker: Worker, stop: asyncio.Event) -> None:
    """As many at once as the settings say, until `stop` is set; what they have in hand is given back."""
    async with asyncio.TaskGroup() as workers:
        running = [workers.create_task(worker.run()) for _ in range(worker.settings.concurrency)]
        await stop.wait()
        for each in running:
            each.cancel()


@asynccontextmanager
async def crew(brief: Brief, metrics: Metrics | None = None) -> AsyncIterator[Worker]:
    """A worker, of which any number may run at once."""
    settings, metrics = brief.settings, metrics or Metrics()
    queue = Queue.at(settings, brief.rubric)
    with State.opened(settings.state, cap=settings.cap) as state:
        async with queue.client, Llm.opened(settings.llm, state) as llm:
            judge = Judge(rubric=brief.rubric, llm=llm, state=state, suspects=settings.suspects)
            checks = SelfCheck(
                judge=judge,
                metrics=metrics,
                breaker=Breaker(limit=settings.probe_limit),
                repeat_share=settings.repeat_share,
                probe_share=settings.probe_share,
            )
            answers = Answers(
                queue=queue, judge=judge, checks=checks, settings=settings, metrics=metrics
            )
            async with replaying(brief, answers) as replays:
                yield Worker(answers=answers, replays=replays, settings=settings, metrics=metrics)


@asynccontextmanager
async def replaying(brief: Brief, answers: Answers) -> AsyncIterator[Replays | None]:
    """Replays by the same service, LLM and state; None where there is no reader, and in shadow."""
    settings, judge = brief.settings, answers.judge
    if settings.reader is None or settings.shadow:
        yield None
        return
    async with Llm.opened(settings.reader, judge.state) as llm:
        yield Replays(
            queue=ReplayQueue(client=answers.queue.client),
            reader=Reader(template=brief.template, llm=llm, state=judge.state),
            judge=judge,
            comparing=replace(judge, rubric=brief.pair_rubric),
            metrics=answers.metrics,
        )


def _stopped_by_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
