"""A replay in hand: the question answered again by the reader, and what the judge makes of that posted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from uuid import UUID

from judge.case import Case, Comparison, Subject
from judge.comparing import Preference, preferred
from judge.metrics import Metrics
from judge.opinions import Judge, Opinion, Suspected
from judge.queue import MAX_ERROR
from judge.reader import Reader, Written
from judge.replay_queue import Replay, ReplayQueue
from judge.rubric import Kind
from judge.state import PICOS
from judge.statements import asked_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Those that wait to be made, and all that it takes to make one."""

    queue: ReplayQueue
    reader: Reader
    judge: Judge
    """Of one answer."""
    comparing: Judge
    """Of two."""
    metrics: Metrics

    def is_paused(self) -> bool:
        """While the reader is away, or today's money does not suffice for it; answers are judged meanwhile."""
        self.metrics.reader_away.set(self.reader.outage.is_on)
        return self.reader.is_paused

    async def lease(self) -> "Replaying | None":
        replay = await self.queue.lease()
        return None if replay is None else Replaying(desk=self, replay=replay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a replay: a value or, where it stays unobserved, an error."""

    outcome: str
    """In a word, for metrics."""
    value: float | None = None
    """In [0, 1]."""
    error: str | None = None
    rationale: str | None = None
    opinion: Opinion | None = None
    """That says who judged; of two the first one."""
    flags: Sequence[str] = ()

    @classmethod
    def unobserved(cls, why: str, *flags: str, opinion: Opinion | None = None) -> Self:
        return cls(outcome="error", error=why, flags=flags, opinion=opinion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaying:
    """One of them, leased."""

    what: ClassVar = "replay"

    desk: Replays
    replay: Replay
    paid: list[Written | Opinion] = field(default_factory=list)
    """All that the two LLMs said for it, in turn."""

    @property
    def decision_id(self) -> UUID:
        return self.replay.decision_id

    @property
    def expires_in_s(self) -> float:
        return self.replay.expires_in_s

    @property
    def attempts_left(self) -> int:
        return self.replay.attempts_left

    async def do(self) -> None:
        """Posts what was found, also where that is no value."""
        try:
            result = await self._result()
        except Suspected as suspicion:
            result = Result.unobserved(f"suspected injection: {suspicion}", "injection")
        await self._post(result)

    async def check(self) -> None:
        """A pair is asked twice as it is, and the judge of one answer is watched where it makes rewards."""

    async def end(self, why: str) -> None:
        await self._post(Result.unobserved(why))

    async def give_back(self, reason: str, *, tried: bool) -> None:
        await self.desk.queue.give_back(self.replay, reason, tried=tried)

    @property
    def _judge(self) -> Judge:
        return self.desk.judge if self.replay.against is None else self.desk.comparing

    async def _result(self) -> Result:
        rubric, read = self._judge.rubric, self.replay.texts(self.replay.positions)
        if rubric.kind is Kind.DOCUMENTS:
            return Result.unobserved(f"the rubric {rubric.id} judges documents, and no answers")
        # Before anybody is paid.
        self._judge.look_at(self._unanswered(read))
        if self.replay.against is None:
            return await self._judged(read)
        return await self._compared(read, self.replay.against)

    def _unanswered(self, read: Sequence[str]) -> Subject:
        if self.replay.against is None:
            return Case(query=self.replay.query, documents=read, answer="")
        return Comparison(query=self.replay.query, documents=read, answer="", rival="")

    async def _judged(self, read: Sequence[str]) -> Result:
        replay = self.replay
        answer = await self._answered(replay.used)
        opinion = await self._judge.judged(
            Case(query=replay.query, documents=read, answer=answer, reference=replay.reference)
        )
        self._pay(opinion)
        if not opinion.verdict.findings:
            return Result.unobserved("the answer claims nothing", opinion=opinion)
        return Result(
            outcome="value",
            value=opinion.verdict.findings[0].value,
            rationale=opinion.verdict.rationale,
            opinion=opinion,
        )

    async def _compared(self, read: Sequence[str], against: Sequence[int]) -> Result:
        """The champion's answer first: another candidate's replay needs the same one."""
        replay = self.replay
        rival = await self._answered(against)
        comparison = Comparison(
            query=replay.query,
            documents=read,
            answer=await self._answered(replay.used),
            rival=rival,
            reference=replay.reference,
        )
        preference = await preferred(self._judge, comparison)
        for look in preference.looks:
            self._pay(look.opinion)
        return Result(
            outcome=preference.outcome,
            value=preference.value,
            rationale=_rationale(preference),
            opinion=next((look.opinion for look in preference.looks), None),
            flags=[preference.outcome] if preference.outcome in {"flip", "same"} else (),
        )

    async def _answered(self, positions: Sequence[int]) -> str:
        written = await self.desk.reader.answer(self.replay.query, self.replay.texts(positions))
        self._pay(written)
        return written.text

    def _pay(self, said: Written | Opinion) -> None:
        self.desk.metrics.count(said)
        self.paid.append(said)

    async def _post(self, result: Result) -> None:
        await self.desk.queue.post(self.replay, self._said(result))
        self.desk.metrics.replays.labels(self.replay.purpose, result.outcome).inc()
        came = result.value if result.error is None else result.error
        logger.info(
            "replay.posted decision=%s purpose=%s outcome=%s came=%s",
            *(self.replay.decision_id, self.replay.purpose, result.outcome, came),
        )

    def _said(self, result: Result) -> dict[str, Any]:
        if result.error is not None:
            came: dict[str, Any] = {"error": result.error[:MAX_ERROR]}
        elif result.rationale is None:
            came = {"value": result.value}
        else:
            came = {"value": result.value, "rationale": result.rationale}
        return came | {"judge": self._how(result)}

    def _how(self, result: Result) -> dict[str, Any]:
        """As the `judge` of feedback; who answered is among the parameters."""
        rubric, opinion = self._judge.rubric, result.opinion
        asked = {} if opinion is None else asked_of(opinion)
        read = () if opinion is None else opinion.presentation
        return {
            "rubric": {**rubric.reference(), "sha256": rubric.sha256},
            "mode": "pairwise" if rubric.kind is Kind.PAIR else "answer",
            **asked,
            "params": {**asked.get("params", {}), "reader": self.desk.reader.described()},
            "presentation": [self.replay.positions[place] for place in read],
            "usage": self._usage(),
            "flags": list(result.flags),
        }

    def _usage(self) -> dict[str, float]:
        """Of all calls together; what was remembered took none."""
        calls = [each for each in self.paid if not each.remembered]
        return {
            "prompt_tokens": sum(each.usage.prompt_tokens or 0 for each in calls),
            "completion_tokens": sum(each.usage.completion_tokens or 0 for each in calls),
            "cost": sum(each.cost for each in calls) / PICOS,
        }


def _rationale(preference: Preference) -> str | None:
    """Of both looks; each says where the answer from `used` stood, since the LLM speaks of A and B."""
    said = [
        f"{look.place} is the answer from `used`: {look.opinion.verdict.rationale}"
        for look in preference.looks
        if look.opinion.verdict.rationale
    ]
    return "\n".join(said) or None
