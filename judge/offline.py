"""Verdicts on answers of a file: the LLM is asked as the worker asks it, and nothing is posted."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import httpx

from judge.gold import Answer
from judge.llm import Llm, LlmFailed
from judge.prompt import messages
from judge.rubric import Rubric
from judge.settings import JudgeSettings

logger = logging.getLogger(__name__)


async def judged(
    rows: Sequence[Answer],
    *,
    rubric: Rubric,
    settings: JudgeSettings,
    told: Callable[[], object],
) -> list[float | None]:
    """The score of each row in [0, 1], in their order; None where the LLM gave no verdict.

    told: called after each row.
    """
    free = asyncio.Semaphore(settings.concurrency)
    async with httpx.AsyncClient() as client:
        llm = Llm(client, settings)

        async def score(row: Answer) -> float | None:
            chat = messages(rubric, query=row.query, documents=row.documents, answer=row.answer)
            async with free:
                try:
                    opinion = await llm.ask(chat)
                except LlmFailed as failure:
                    logger.warning("verdict.failed row=%s reason=%s", row.id, failure)
                    return None
                finally:
                    told()
            return opinion.verdict.score

        return await asyncio.gather(*map(score, rows))
