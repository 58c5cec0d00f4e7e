"""The judge and the service's own replays, over sockets."""

import asyncio

from sqlalchemy import select

from contract.model_tables import replays
from judge.__main__ import crew
from judge.brief import Brief
from judge.settings import JudgeSettings
from tests.integration.conftest import Memory
from tests.integration.test_judge_replays import (
    ATTACK,
    GOOD,
    QUIET,
    first_document,
    prefers_two_years,
)
from tests.integration.test_replay_queue import LEFT_OUT, PAIR, asked, stored
from tests.scripted_llm import Reply, ScriptedLlm, scripted_llm
from tests.serving import until_async
from tests.sockets import on_a_socket


async def made(memory: Memory, llm: ScriptedLlm, reader: ScriptedLlm) -> None:
    """Until no replay waits."""
    async with on_a_socket(memory.app) as url:
        fields = {"service_url": url, "llm_url": llm.url, "reader_url": reader.url}
        brief = Brief.of(JudgeSettings.model_validate(fields | QUIET))
        async with crew(brief) as worker:
            running = asyncio.create_task(worker.run())

            async def done() -> bool:
                own = select(replays.c.done_at).where(replays.c.tenant == memory.name)
                async with memory.engine.connect() as connection:
                    return None not in (await connection.execute(own)).scalars().all()

            await until_async(done)
            running.cancel()
            await asyncio.wait({running})


def knowing(prompt: str) -> str:
    return prefers_two_years(prompt) if "begin answer A" in prompt else GOOD.text


async def test_what_the_judge_makes_of_replays_is_what_the_trainer_finds(memory: Memory):
    decision_id = (await memory.decide()).id
    pair = await asked(memory, decision_id, **PAIR)
    alone = await asked(memory, decision_id, **LEFT_OUT)
    with scripted_llm(think=knowing) as llm, scripted_llm(think=first_document) as reader:
        await made(memory, llm, reader)

    row = await stored(memory, pair)
    assert (row.value, row.error) == (1.0, None)
    assert row.done_xid is not None
    assert row.judge["rubric"]["id"] == "pairwise"
    row = await stored(memory, alone)
    assert (row.value, row.error) == (0.75, None)


async def test_what_stays_unobserved_ends_as_an_error(memory: Memory):
    alone = await asked(memory, **LEFT_OUT)
    with scripted_llm(GOOD) as llm, scripted_llm(Reply(text=ATTACK)) as reader:
        await made(memory, llm, reader)

    row = await stored(memory, alone)
    assert row.value is None
    assert row.error.startswith("suspected injection: ")
    assert row.judge["flags"] == ["injection"]
