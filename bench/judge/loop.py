"""Real answers through a real loop: reranked, answered, judged by a process that is killed halfway, rewarded.

No probes are slipped in: a judge that falls for them stops for good, and the attacks are counted apart.
"""

import logging
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
from sqlalchemy import Engine, func, select

from bench.judge import stack
from bench.judge.answers import GOOD_FROM, RealAnswer
from bench.judge.tally import Said, Tally, first_value
from contract.records import Source
from contract.rewards import RewardSpec
from contract.tables import feedback
from contract.tables import rewards as reward_rows
from judge.calibration import Table
from judge.settings import PREFIX, JudgeSettings
from judge.state import PICOS, State
from trainer import rewards

logger = logging.getLogger("bench.judge")

LINE: Final = "default"
KILLED_AT: Final = 0.5
"""Of the answers, when so many have been spoken of."""
LOOK_EVERY_S: Final = 0.5
STALLED_S: Final = 900.0
"""Without news for so long the judge is given up: three times what a lease of a killed judge still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a run left behind."""

    tally: Tally
    table: Table
    """Verdicts beside the gold."""
    rewards: int
    """Answers that have a reward in the log."""
    rewards_differ: int
    """Of those, the ones whose reward is not their verdict."""
    cost: Mapping[str, Any]


def played(answers: Sequence[RealAnswer], settings: JudgeSettings, log: Path) -> Played:
    """settings: of the judge; where the service is, it is told here.  log: of the judge's process."""
    with stack.running() as running, State.opened(settings.state) as state:
        by_decision = submitted(running.url, answers)
        before = state.spent()
        judged(running, settings, log, n=len(by_decision))
        said = statements(running.engine)
        rewarded = derived(running.engine)
        values = _values(said)
        known = [(by_decision[each].f1, value) for each, value in values.items()]
        return Played(
            tally=Tally.of(by_decision.keys(), said),
            table=Table.of(known, threshold=GOOD_FROM),
            rewards=len(rewarded),
            rewards_differ=sum(rewarded.get(each) != value for each, value in values.items()),
            cost=_cost(running.engine, settings, spent=(state.spent() - before) / PICOS),
        )


def submitted(url: str, answers: Sequence[RealAnswer]) -> dict[UUID, RealAnswer]:
    """By the decision that they belong to."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        return {_submitted(client, answer): answer for answer in answers}


def _submitted(client: httpx.Client, answer: RealAnswer) -> UUID:
    ranking = client.post(
        "/v1/rerank", json={"query": answer.query, "documents": answer.documents}
    ).raise_for_status()
    decision_id = ranking.json()["id"]
    body = {"used": [answer.used], "text": answer.text}
    client.post(f"/v1/decisions/{decision_id}/answer", json=body).raise_for_status()
    return UUID(decision_id)


def judged(running: stack.Stack, settings: JudgeSettings, log: Path, *, n: int) -> None:
    """Until n answers have been spoken of, by a judge that is killed halfway and by the next one."""
    environ = {**running.environ, **_environ(settings, running.url)}
    with log.open("wb") as output:
        with stack.judging(environ, output) as judge:
            _wait(judge, running.engine, until=max(1, int(KILLED_AT * n)))
            stack.kill(judge)
        logger.info("killed the judge, starting another")
        with stack.judging(environ, output) as judge:
            _wait(judge, running.engine, until=n)


def _environ(settings: JudgeSettings, service_url: str) -> dict[str, str]:
    """The settings as a process reads them."""
    said = settings.model_dump(mode="json", exclude_unset=True) | {"service_url": service_url}
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in said.items()}


def _wait(judge: subprocess.Popen[bytes], engine: Engine, *, until: int) -> None:
    """Raises `TimeoutError`, also where the judge ends by itself."""
    spoken, news_at = 0, time.monotonic()
    while spoken < until:
        time.sleep(LOOK_EVERY_S)
        found = _spoken_of(engine)
        if found > spoken:
            spoken, news_at = found, time.monotonic()
            logger.info("%d of %d answers", spoken, until)
        if judge.poll() is not None or time.monotonic() - news_at > STALLED_S:
            raise TimeoutError(f"the judge stopped at {spoken} answers; see its log")


def _spoken_of(engine: Engine) -> int:
    """Answers that a judge has said anything of."""
    statement = select(func.count(func.distinct(feedback.c.decision_id))).where(
        feedback.c.source_type == Source.LLM_JUDGE
    )
    with engine.connect() as connection:
        return connection.execute(statement).scalar_one()


def statements(engine: Engine) -> list[Said]:
    """All that judges said, as it is stored."""
    statement = select(feedback).where(feedback.c.source_type == Source.LLM_JUDGE)
    with engine.connect() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Said(
            decision_id=row["decision_id"],
            document=row["document"],
            replicate=row["metadata"]["replicate"],
            value=row["num_value"],
            error=row["error"] and row["error"]["message"],
        )
        for row in rows
    ]


def _values(said: Sequence[Said]) -> dict[UUID, float]:
    """The verdicts by their answer."""
    by_answer: defaultdict[UUID, list[Said]] = defaultdict(list)
    for each in said:
        by_answer[each.decision_id].append(each)
    found = {answer: first_value(rows) for answer, rows in by_answer.items()}
    return {answer: value for answer, value in found.items() if value is not None}


def derived(engine: Engine) -> dict[UUID, float]:
    """Rewards as the trainer puts them into the log, as soon as it will.  By decision."""
    with engine.begin() as connection:
        spec = rewards.registered(connection, RewardSpec())
        soon = datetime.now(UTC) + timedelta(seconds=spec.wait_s)
        rewards.derive(connection, spec, line=LINE, now=soon)
        rows = connection.execute(
            select(reward_rows.c.decision_id, reward_rows.c.reward).where(
                reward_rows.c.reward.is_not(None)
            )
        ).all()
    return {row.decision_id: row.reward for row in rows}


def _cost(engine: Engine, settings: JudgeSettings, *, spent: float) -> dict[str, Any]:
    """In the currency of the prices, which are made up."""
    prompt, completion = (_tokens(engine, name) for name in ("prompt_tokens", "completion_tokens"))
    by_token = prompt * float(settings.llm_prompt_price) + completion * float(
        settings.llm_completion_price
    )
    return {
        "spent": round(spent, 6),
        "of_verdicts": round(by_token / 10**6, 6),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_price": float(settings.llm_prompt_price),
        "completion_price": float(settings.llm_completion_price),
    }


def _tokens(engine: Engine, name: str) -> int:
    """Of all verdicts together, as the API counted them."""
    statement = select(func.sum(feedback.c.judge["usage"][name].as_integer())).where(
        feedback.c.source_type == Source.LLM_JUDGE
    )
    with engine.connect() as connection:
        return connection.execute(statement).scalar_one() or 0
