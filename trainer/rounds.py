"""One round: read, train, export, judge, publish; killed anywhere, it is taken up again where it was.

What it reads was noted before it was read, what it made is named by its content, and a run is promoted at most once.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from contract import publication
from contract.pointer import Live
from contract.publication import Action, EpochMoved
from contract.store import Store
from trainer import comparison, evaluations, gate, join, judging, publish, replays, runs, sifting
from trainer.canary import SHARES
from trainer.candidates import Candidate, Workshop
from trainer.comparison import Pairs
from trainer.evaluations import Judgement
from trainer.examples import Example
from trainer.gate import Answer, Verdict
from trainer.golden import GoldenSet
from trainer.join import Window
from trainer.judging import Bench
from trainer.learner import newest_first
from trainer.metrics import Metrics
from trainer.runs import Run, Status
from trainer.settings import TrainerSettings
from trainer.sifting import Sifted
from trainer.splits import Split

logger = logging.getLogger(__name__)

UNTIL: Final = "pairs_until"
"""Of a run's progress: how long it waits for the pairs that it asked for."""
PAIRS: Final = "pairs_most"
"""How many it might ask for of each candidate, whatever the settings say by now; 0 where it had none to ask for."""


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
    run = _having_asked(context, run, candidates, sides.gate)
    if _has_to_wait(context, run):
        return Status.RUNNING
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
        then,
        token=token,
        reason=best.reason,
        action=Action.PROMOTE if then.canary_version is None else Action.CANARY,
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
    sifted = sifting.sift(joined, context.settings, champion=run.champion)
    _note(context, run, sifted)
    return sifted.sides


def _note(context: Context, run: Run, sifted: Sifted) -> None:
    """What the round learns from, and which sources it does not believe."""
    with context.engine.begin() as connection:
        runs.count(connection, run, decisions=sifted.decisions, skipped=sifted.skipped)
        if sifted.suspects:
            found = [each.to_json() for each in sifted.suspects]
            runs.note(connection, run, {"suspects": found})
    counts = {reason.value: number for reason, number in sifted.skipped.items()}
    logger.info("round.read run=%s decisions=%d skipped=%s", run.id, sifted.decisions, counts)
    for each in sifted.suspects:
        logger.warning(
            "source.suspected run=%s source=%s reason=%s", run.id, each.origin, each.reason
        )
    for reason, number in counts.items():
        context.metrics.skipped.labels(reason).inc(number)


def _candidates(context: Context, run: Run, sides: Split) -> list[Candidate]:
    """Trained, exported, stored and known; made once for a run."""
    if "candidates" not in run.progress:
        made = []
        trained = context.workshop.candidates(
            run.champion, sides, golden=context.golden, seed=run.seed, run_id=str(run.id)
        )
        for candidate, folder in trained:
            publish.store_version(
                context.store, context.engine, folder, line=run.window.line, run_id=run.id
            )
            made.append(candidate.to_json())
        with context.engine.begin() as connection:
            run = runs.note(connection, run, {"candidates": made})
    return [Candidate.of_json(found) for found in run.progress["candidates"]]


def is_waiting(connection: Connection, run: Run) -> bool:
    """Whether pairs that the round asked for are still to come, and may."""
    until = run.progress.get(UNTIL)
    if until is None or datetime.now(UTC) >= datetime.fromisoformat(until):
        return False
    return replays.is_awaited(connection, run.id)


def _having_asked(
    context: Context, run: Run, candidates: Sequence[Candidate], examples: Sequence[Example]
) -> Run:
    """Asks the judge about those that could be promoted, once, where that is wanted."""
    settings = context.settings
    if UNTIL in run.progress or not settings.trainer_pairs:
        return run
    bench = _bench(context, run, examples, alpha=settings.trainer_alpha)
    asks = [
        pair.ask
        for candidate in candidates
        if judging.admitted(candidate, bench)[-1].answer is Answer.PASS
        for pair in _pairs(bench, candidate, most=settings.trainer_pairs).changed
    ]
    until = datetime.now(UTC) + timedelta(seconds=settings.trainer_pairs_wait_s)
    noted = {UNTIL: until.isoformat(), PAIRS: settings.trainer_pairs if asks else 0}
    with context.engine.begin() as connection:
        new = replays.ask(connection, asks, run_id=run.id)
        run = runs.note(connection, run, noted)
    logger.info("round.asks run=%s pairs=%d new=%d", run.id, len(asks), new)
    return run


def _has_to_wait(context: Context, run: Run) -> bool:
    """What came is read when the round is taken up again; what has not come by then is taken back."""
    with context.engine.begin() as connection:
        if is_waiting(connection, run):
            return True
        late = replays.close(connection, run.id)
    if late:
        logger.warning("round.waited run=%s late=%d", run.id, late)
    return False


def _pairs(bench: Bench, candidate: Candidate, *, most: int) -> Pairs:
    return comparison.pairs(
        bench.examples,
        champion=bench.served(bench.champion),
        candidate=bench.served(candidate.version),
        most=most,
    )


def _bench(context: Context, run: Run, examples: Sequence[Example], *, alpha: float) -> Bench:
    return Bench(
        workshop=context.workshop,
        golden=context.golden,
        champion=run.champion,
        examples=examples,
        alpha=alpha,
        seed=run.seed,
    )


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
    bench = _bench(context, run, examples, alpha=alpha)
    if most := run.progress.get(PAIRS):
        bench = _with_pairs(context, bench, candidate, most=most)
    verdicts = judging.verdicts(candidate, bench)
    with context.engine.begin() as connection:
        evaluations.record(connection, run, candidate.version, verdicts)
        judgement = evaluations.judgement(connection, run, candidate.version)
    assert judgement is not None  # noqa: S101 -- recorded one line above
    _tell(context, candidate, verdicts)
    return judgement


def _with_pairs(context: Context, bench: Bench, candidate: Candidate, *, most: int) -> Bench:
    """Where too few came back it is as though none had been asked for."""
    pairs = _pairs(bench, candidate, most=most)
    with context.engine.connect() as connection:
        played = pairs.played(connection)
    return bench if played is None else replace(bench, played={candidate.version: played})


def _best(judgements: Sequence[Judgement]) -> Judgement | None:
    """Of those that pass, the one with the highest lower bound."""
    passed = [judgement for judgement in judgements if judgement.answer is Answer.PASS]
    return max(passed, key=lambda judgement: judgement.low or 0.0, default=None)


def prepare(context: Context, champion: str, window: Window, *, newest: int) -> None:
    """Computes ahead of a round what it would spend most of its time on."""
    with context.engine.connect() as connection:
        joined = join.read(connection, window, limit=newest)
    sides = sifting.divided(joined.examples, context.settings, champion=champion)
    precision = judging.served_precision(joined.examples)
    _ask_about(context, sides.train, precision=precision)
    learned_from = newest_first([*sides.tune, *sides.train])
    context.workshop.prepare(champion, [*context.golden.listings, *learned_from])
    # These judge now and train later.
    context.workshop.prepare(champion, newest_first(sides.gate), makes_room=False)
    context.golden.ndcg(context.workshop.served(champion, precision))


def _ask_about(context: Context, examples: Sequence[Example], *, precision: str) -> None:
    """Has some of the answers that teach made again."""
    settings = context.settings
    asks = [*replays.leave_one_out(examples, share=settings.trainer_leave_one_out)]
    if settings.trainer_reference:
        with context.engine.connect() as connection:
            base = connection.execute(publication.base(settings.line)).scalar_one()
        served = context.workshop.served(base, precision)
        asks += replays.reference(examples, served, share=settings.trainer_reference)
    if asks:
        with context.engine.begin() as connection:
            replays.ask(connection, asks)


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
