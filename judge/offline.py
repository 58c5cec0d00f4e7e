"""Verdicts on answers of a file: the LLM is asked as the worker asks it, and nothing is posted."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from judge.case import Case
from judge.gold import Answer
from judge.llm import Llm, LlmFailed
from judge.opinions import Judge, Suspected
from judge.rubric import Rubric
from judge.settings import JudgeSettings
from judge.state import State

logger = logging.getLogger(__name__)


async def judged(
    rows: Sequence[Answer],
    *,
    rubric: Rubric,
    settings: JudgeSettings,
    told: Callable[[], object],
) -> list[float | None]:
    """The score of each row in [0, 1], in their order; None without a verdict, or where it would be left unobserved.

    told: called after each row.  Raises `CapReached`.
    """
    free = asyncio.Semaphore(settings.concurrency)
    with State.opened(settings.state, cap=settings.cap) as state:
        async with Llm.opened(settings.llm, state) as llm:
            judge = Judge(rubric=rubric, llm=llm, state=state, suspects=settings.suspects)

            async def score(row: Answer) -> float | None:
                async with free:
                    found = await _score(judge, row)
                told()
                return found

            return await asyncio.gather(*map(score, rows))


async def _score(judge: Judge, row: Answer) -> float | None:
    case = Case(
        query=row.query, documents=row.documents, answer=row.answer, reference=row.reference
    )
    try:
        opinion = await judge.judged(case)
    except (LlmFailed, Suspected) as failure:
        logger.warning("verdict.failed row=%s reason=%s", row.id, failure)
        return None
    # An answer that claims nothing has no finding.
    return next((finding.value for finding in opinion.verdict.findings), None)
