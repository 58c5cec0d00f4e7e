"""One round: read, train, export, judge, publish; killed anywhere, it is taken up again where it was.

What it reads was noted before it was read, what it made is named by its content, and a run is promoted at most once.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Engine

from contract.pointer import Live
from contract.publication import Action, EpochMoved
from contract.store import Store
from trainer import agreement, caps, evaluations, gate, join, publish, readers, runs
from trainer.agreement import Suspect
from trainer.canary import SHARES
from trainer.candidates import Candidate, Workshop
from trainer.evaluations import Judgement
from trainer.examples import Example, Skipped
from trainer.gate import Answer, Verdict
from trainer.golden import GoldenSet
from trainer.join import Window
from trainer.learner import Listing
from trainer.metrics import Metrics
from trainer.runs import Run, Status
from trainer.settings import TrainerSettings
from trainer.splits import Split, split

logger = logging.getLogger(__name__)

PRECISION: Final = "float32"
"""Of the gate, where no decision says what serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every step of a round may use."""

    settings: TrainerSettings
    engine: Engine
    store: Store
    workshop: Workshop
    golden: GoldenSet
    metrics: Metrics


def take_up(context: Context, run: Run, *, live: Live, token: int) -> Status:
    """Runs a round to its end, from wherever it is.  Raises the refusal that ended it."""
    with context.engine.connect() as connection:
        done = publish.published_by(connection, run.id)
    if done is not None:
        return _finish_published(context, run, done)
    if live.version != run.champion:
        raise EpochMoved(f"the champion is {live.version[:12]}, the round began with another")
    if live.canary_version is not None:
        raise EpochMoved(f"{live.canary_version[:12]} is a canary since the round began")
    sides = _read(context, run)
    candidates = _candidates(context, run, sides)
    judgements = [_judged(context, run, each, candidates, sides.gate) for each in candidates]
    best = _best(judgements)
    if best is None:
        return _finish(context, run, Status.REJECTED if candidates else Status.NOTHING_TO_LEARN)
    return _finish_published(context, run, _published(context, run, best, live=live, token=token))


def _published(context: Context, run: Run, best: Judgement, *, live: Live, token: int) -> Live:
    """The champion's successor, or a canary beside it that its users are asked about first."""
    then = (
        live.then(live.version, canary_version=best.version, canary_share=SHARES[0])
        if context.settings.trainer_canary
        else live.then(best.version)
    )
    return publish.promote(
        context.engine,
        line=run.window.line,
        version=then.version,
        expected_epoch=live.epoch,
        token=token,
        reason=best.reason,
        action=Action.PROMOTE if then.canary_version is None else Action.CANARY,
        canary_version=then.canary_version,
        canary_share=then.canary_share,
        run_id=run.id,
        evaluation_id=best.evaluation_id,
    )


def _finish_published(context: Context, run: Run, done: Live) -> Status:
    if done.canary_version is None:
        return _finish(context, run, Status.PROMOTED, produced=done.version)
    return _finish(context, run, Status.CANARY, produced=done.canary_version)


def _read(context: Context, run: Run) -> Split:
    with context.engine.connect() as connection:
        joined = join.read(connection, run.window, limit=context.settings.trainer_replay)
    heard = readers.of_today(joined.examples)
    suspects = agreement.suspects(heard) if context.settings.trainer_suspect else []
    believed = agreement.believed(heard, suspects)
    sides, over = caps.within(
        _split(context, believed, champion=run.champion),
        source_share=context.settings.trainer_source_share,
        tenant_share=context.settings.trainer_tenant_share,
    )
    skipped = Counter(joined.skipped) + over
    skipped[Skipped.READER_GONE] = len(joined.examples) - len(heard)
    skipped[Skipped.SUSPECTED] = len(heard) - len(believed)
    decisions = len(believed) - over.total()
    _note(context, run, decisions=decisions, skipped=+skipped, suspects=suspects)
    return sides


def _note(
    context: Context,
    run: Run,
    *,
    decisions: int,
    skipped: Mapping[Skipped, int],
    suspects: Sequence[Suspect],
) -> None:
    """What the round learns from, and which sources it does not believe."""
    with context.engine.begin() as connection:
        runs.count(connection, run, decisions=decisions, skipped=skipped)
        if suspects:
            runs.note(connection, run, {"suspects": [each.to_json() for each in suspects]})
    counts = {reason.value: number for reason, number in skipped.items()}
    logger.info("round.read run=%s decisions=%d skipped=%s", run.id, decisions, counts)
    for each in suspects:
        logger.warning(
            "source.suspected run=%s source=%s reason=%s", run.id, each.origin, each.reason
        )
    for reason, number in counts.items():
        context.metrics.skipped.labels(reason).inc(number)


def _split(context: Context, examples: Iterable[Example], *, champion: str) -> Split:
    return split(
        examples,
        champion=champion,
        tune_share=context.settings.trainer_tune_share,
        gate_share=context.settings.trainer_gate_share,
    )


def _candidates(context: Context, run: Run, sides: Split) -> list[Candidate]:
    """Trained, exported, stored and known; made once for a run."""
    if "candidates" not in run.progress:
        made = []
        for candidate, folder in context.workshop.candidates(run, sides, golden=context.golden):
            publish.store_version(
                context.store, context.engine, folder, line=run.window.line, run_id=run.id
            )
            made.append(candidate.to_json())
        with context.engine.begin() as connection:
            run = runs.note(connection, run, {"candidates": made})
    return [Candidate.of_json(found) for found in run.progress["candidates"]]


def _judged(
    context: Context,
    run: Run,
    candidate: Candidate,
    candidates: Sequence[Candidate],
    examples: Sequence[Example],
) -> Judgement:
    with context.engine.connect() as connection:
        before = evaluations.judgement(connection, run, candidate.version)
        spent = runs.evidence_spent(connection, run)
    if before is not None:
        return before
    alpha = gate.spent(
        context.settings.trainer_alpha, round_number=spent + 1, candidates=len(candidates)
    )
    verdicts = _verdicts(context, run, candidate, examples, alpha=alpha)
    with context.engine.begin() as connection:
        evaluations.record(connection, run, candidate.version, verdicts)
        judgement = evaluations.judgement(connection, run, candidate.version)
    assert judgement is not None  # noqa: S101 -- recorded one line above
    _tell(context, candidate, verdicts)
    return judgement


def _verdicts(
    context: Context,
    run: Run,
    candidate: Candidate,
    examples: Sequence[Example],
    *,
    alpha: float,
) -> list[Verdict]:
    """In order, up to the first that is no pass."""
    precision = served_precision(examples)
    served = partial(context.workshop.served, precision=precision)
    questions: tuple[Callable[[], Verdict], ...] = (
        lambda: gate.parity(candidate.agreement.get(precision, 0.0)),
        lambda: gate.golden(
            context.golden.ndcg(served(candidate.version)),
            context.golden.ndcg(served(run.champion)),
        ),
        lambda: gate.offline(
            served(candidate.version),
            served(run.champion),
            examples,
            alpha=alpha,
            expected_gain=candidate.expected_gain,
            seed=run.seed,
        ),
    )
    verdicts = []
    for ask in questions:
        verdicts.append(ask())
        if verdicts[-1].answer is not Answer.PASS:
            break
    return verdicts


def served_precision(examples: Sequence[Example]) -> str:
    """The precision that most of the decisions were served with."""
    counts = Counter(example.decision.precision for example in examples)
    return counts.most_common(1)[0][0] if counts else PRECISION


def _best(judgements: Sequence[Judgement]) -> Judgement | None:
    """Of those that pass, the one with the highest lower bound."""
    passed = [judgement for judgement in judgements if judgement.answer is Answer.PASS]
    return max(passed, key=lambda judgement: judgement.low or 0.0, default=None)


def prepare(context: Context, champion: str, window: Window, *, newest: int) -> None:
    """Computes ahead of a round what it would spend most of its time on."""
    with context.engine.connect() as connection:
        joined = join.read(connection, window, limit=newest)
    sides = _split(context, joined.examples, champion=champion)
    newest_first = [*reversed(sides.tune), *reversed(sides.train)]
    listings = [*context.golden.listings, *map(Listing.of_example, newest_first)]
    context.workshop.prepare(champion, listings)
    context.golden.ndcg(context.workshop.served(champion, served_precision(joined.examples)))


def _finish(context: Context, run: Run, status: Status, *, produced: str | None = None) -> Status:
    with context.engine.begin() as connection:
        runs.finish(connection, run, status=status, produced=produced)
    return status


def _tell(context: Context, candidate: Candidate, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        context.metrics.verdicts.labels(verdict.kind.value, verdict.answer.value).inc()
        logger.info(
            "gate.%s version=%s capacity=%s verdict=%s reason=%s",
            verdict.kind,
            candidate.version[:12],
            candidate.capacity,
            verdict.answer,
            verdict.reason,
        )
