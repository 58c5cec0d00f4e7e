"""`python -m judge`: judges until SIGTERM or Ctrl-C; without an LLM it idles, and says so once."""

import asyncio
import logging
import signal
import sys

import httpx
from prometheus_client import start_http_server
from pydantic import ValidationError

from judge.llm import Llm
from judge.metrics import Metrics
from judge.queue import Queue
from judge.rubric import Rubric
from judge.settings import JudgeSettings
from judge.worker import Worker

logger = logging.getLogger("judge")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # httpx logs every request at INFO: a line for each poll.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = JudgeSettings()
    except ValidationError as error:
        sys.stderr.write("".join(f"{problem['msg']}\n" for problem in error.errors()))
        return 2
    asyncio.run(run(settings))
    return 0


async def run(settings: JudgeSettings) -> None:
    """The whole life of the process."""
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
            await work(settings, metrics, stop)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    logger.info("judge.stopped")


async def work(settings: JudgeSettings, metrics: Metrics, stop: asyncio.Event) -> None:
    """As many workers as the settings say, until `stop` is set; what they have in hand is given back."""
    queue = Queue.at(
        str(settings.service_url),
        rubric=Rubric.from_file(settings.rubric),
        key=settings.api_key,
    )
    async with queue.client, httpx.AsyncClient() as client:
        worker = Worker(
            queue=queue, llm=Llm(client, settings), metrics=metrics, poll_s=settings.poll_s
        )
        async with asyncio.TaskGroup() as workers:
            running = [workers.create_task(worker.run()) for _ in range(settings.concurrency)]
            await stop.wait()
            for each in running:
                each.cancel()


def _stopped_by_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
