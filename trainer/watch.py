"""Looks at a running canary now and then: asks the rule, stores what it said with its evidence, and does it.

One row of `evaluations` for each epoch: the last look at it. Where canaries are not the trainer's own
(`RANKLOOP_TRAINER_CANARY` is off) an operator reads it and decides. While the base is held back, the champion is looked
at too, with or without a canary.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import Connection, Select, exists, select

from contract import publication
from contract.pointer import Live
from contract.publication import Action
from contract.refusals import Refusal
from contract.rewards import RewardSpec
from contract.tables import evaluations, model_versions
from trainer import canary, hold_back, looks, publish, trial
from trainer.canary import SHARES, Arm, Limits, Seen, Stage, Step, Verdict
from trainer.gate import Answer
from trainer.looks import Look
from trainer.rounds import Context
from trainer.trial import Trial

logger = logging.getLogger(__name__)

LIMITS: Final = Limits()
PATIENCE: Final = 20
"""Looks take a twentieth of the time at most, however much there is to sum up."""
ANSWERS: Final = {
    Step.PROMOTE: Answer.PASS,
    Step.ADVANCE: Answer.NOT_ENOUGH_EVIDENCE,
    Step.ROLL_BACK: Answer.REFUSE,
    Step.HOLD: Answer.NOT_ENOUGH_EVIDENCE,
    Step.KEEP_CHAMPION: Answer.NOT_ENOUGH_EVIDENCE,
}


class Watch:
    """Over the canaries of one line, and over its base while that is held back."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings
        self._due_at = float("-inf")

    def look(self, live: Live, spec: RewardSpec, *, token: int) -> Step | None:
        """What was done; None where it is not time yet, and where nothing was to be done."""
        began = time.monotonic()
        if began < self._due_at or (live.canary_version is None and live.held_back is None):
            return None
        with self._context.engine.begin() as connection:
            verdict = self._asked(connection, live, spec, now=datetime.now(UTC))
        took_s = time.monotonic() - began
        self._due_at = began + max(self._settings.trainer_canary_look_s, PATIENCE * took_s)
        if verdict is None:
            return None
        logger.info(
            "canary.looked version=%s share=%g step=%s reason=%s",
            *(live.canary_version, live.canary_share, verdict.step, verdict.reason),
        )
        if verdict.step is Step.HOLD or not self._settings.trainer_canary:
            return None
        return self._done(live, verdict, token=token)

    def _asked(
        self, connection: Connection, live: Live, spec: RewardSpec, *, now: datetime
    ) -> Verdict | None:
        """Of the canary, if there is one; what is known of the base counts in it."""
        compared = hold_back.look(connection, live, spec, limits=LIMITS, now=now)
        if live.canary_version is None:
            return None
        running = trial.running(connection, live)
        slow_ms = trial.p99_ms(connection, running)
        seen = Seen(
            stages=trial.stages(connection, running, spec, slow_ms=slow_ms, now=now),
            passed_gate=connection.execute(_passed_gate(live)).scalar_one(),
            margins_granted=_margins(connection, live),
            below_base=compared is not None and compared.answer is Answer.REFUSE,
            over=now - running.began_at > timedelta(days=self._settings.trainer_canary_days),
        )
        verdict = canary.decide(seen, LIMITS)
        _record(connection, running, seen, verdict, slow_ms=slow_ms)
        return verdict

    def _done(self, live: Live, verdict: Verdict, *, token: int) -> Step | None:
        action, then = _next(live, verdict.step)
        engine = self._context.engine
        try:
            publish.promote(
                engine,
                then,
                token=token,
                reason=verdict.reason,
                action=action,
                evaluation_id=_row_id(live),
            )
        except Refusal as refusal:
            logger.warning("canary.overtaken step=%s reason=%s", verdict.step, refusal)
            return None
        self._due_at = float("-inf")
        self._context.metrics.verdicts.labels("canary", ANSWERS[verdict.step].value).inc()
        if action is Action.ROLLBACK and live.canary_version is not None:
            with engine.begin() as connection:
                connection.execute(publication.mark_version(live.canary_version, status="rejected"))
        return verdict.step


def _next(live: Live, step: Step) -> tuple[Action, Live]:
    """The epoch that a step makes."""
    canary_version = live.canary_version
    assert canary_version is not None  # noqa: S101 -- there is nothing to look at without one
    if step is Step.PROMOTE:
        return Action.PROMOTE, live.then(canary_version)
    if step is Step.ADVANCE:
        share = next(share for share in SHARES if share > live.canary_share)
        then = live.then(live.version, canary_version=canary_version, canary_share=share)
        return Action.CANARY, then
    return Action.ROLLBACK, live.then(live.version)


def _passed_gate(live: Live) -> Select[Any]:
    """Whether the log or a reader said that the canary beats this champion."""
    return select(
        exists().where(
            evaluations.c.line == live.line,
            evaluations.c.version == live.canary_version,
            evaluations.c.champion == live.version,
            evaluations.c.kind.in_(("offline", "replay")),
            evaluations.c.verdict == Answer.PASS.value,
        )
    )


def _margins(connection: Connection, live: Live) -> float:
    """What let in the champion and those that it descends from, in order; a rollback takes its margin along.

    What was surely gained pays back what may have been lost before it, and is no credit for later.
    """
    margins = {row.version: row.margin for row in connection.execute(_looks_at_ancestors(live))}
    granted = 0.0
    for margin in margins.values():
        granted = max(0.0, granted + margin)
    return granted


def _looks_at_ancestors(live: Live) -> Select[Any]:
    """Oldest first: of several at one version the last is the one that let it in."""
    line = (
        select(model_versions.c.version, model_versions.c.parent)
        .where(model_versions.c.version == live.version)
        .cte("line", recursive=True)
    )
    parent = model_versions.alias("parent")
    line = line.union(
        select(parent.c.version, parent.c.parent).where(parent.c.version == line.c.parent)
    )
    margin = evaluations.c.detail["margin"].as_float().label("margin")
    return (
        select(evaluations.c.version, margin)
        .where(
            evaluations.c.line == live.line,
            evaluations.c.kind == "canary",
            evaluations.c.version.in_(select(line.c.version)),
            margin != 0,
        )
        .order_by(evaluations.c.created_at)
    )


def _record(
    connection: Connection,
    running: Trial,
    seen: Seen,
    verdict: Verdict,
    *,
    slow_ms: float | None,
) -> None:
    """In place of the look before at the same epoch."""
    live, now = running.live, seen.stages[-1]
    assert live.canary_version is not None  # noqa: S101 -- there is nothing to look at without one
    look = Look(
        kind="canary",
        line=live.line,
        version=live.canary_version,
        champion=live.version,
        value=verdict.value,
        low=verdict.low,
        high=verdict.high,
        alpha=LIMITS.alpha,
        units=int(now.canary.reward.count + now.champion.reward.count),
        answer=ANSWERS[verdict.step],
        reason=verdict.reason,
        detail={
            "step": verdict.step.value,
            "margin": verdict.margin,
            "margins_granted": seen.margins_granted,
            "below_base": seen.below_base,
            "passed_gate": seen.passed_gate,
            "slow_ms": slow_ms,
            "stages": [_told(stage) for stage in seen.stages],
        },
    )
    looks.store(connection, look, evaluation_id=_row_id(live))


def _told(stage: Stage) -> dict[str, Any]:
    return {
        "share": stage.share,
        "hold_back": stage.hold_back,
        "canary": _sums(stage.canary),
        "champion": _sums(stage.champion),
    }


def _sums(arm: Arm) -> dict[str, Any]:
    return {"not_finite": arm.not_finite, **looks.sums(arm, *trial.MEASURES)}


def _row_id(live: Live) -> UUID:
    """Of the looks at one epoch."""
    return uuid5(NAMESPACE_URL, f"rankloop:canary:{live.line}:{live.epoch}")
