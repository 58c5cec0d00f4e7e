"""A reranker for teams that have gold answers and a reader that may be asked: taught by it, exported, judged by it.

It learns from what the reader answers (`trainer.rrpo`) and becomes a version like any other. On held-out questions the
gate replays the reader with its documents and with those of the reference, the version that it started from.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.artifact import MANIFEST
from trainer import export, gate, golden, prompts, questions, replay, rrpo, versions
from trainer.activations import Activations
from trainer.answer_metrics import WORTH, Metric
from trainer.candidates import Champion
from trainer.console import Watch
from trainer.export import Export
from trainer.gate import Answer, Kind, Verdict
from trainer.golden import GoldenSet
from trainer.learner import Capacity, Learner
from trainer.questions import Question, Sides
from trainer.ranking_sets import Mean
from trainer.reader import Reader
from trainer.replay import Pair, Replay, Unanswered
from trainer.rrpo import Ask, Lesson, Plan, Trained
from trainer.scoring import Served
from trainer.settings import TrainerSettings

PRECISION: Final = "float32"
"""Of the files that are compared."""
SETTINGS: Final = TrainerSettings.model_construct()
"""The defaults of a round; nothing here needs a database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What shall be made of what, and how."""

    base: str
    """A start as `trainer.base` knows it, or the folder of a version."""
    folder: Path
    """Receives `candidate`, and `reference` where the base is no version yet."""
    capacity: Capacity
    plan: Plan
    metric: Metric
    """What is learned from and judged by."""
    alpha: float
    """The level of the gate's one test."""
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric on the held-out questions."""

    metric: Metric
    before: float
    after: float
    gain: Mean
    """Paired by question, clustered by article."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    reference: str
    candidate: str | None
    """A version; None where no round was better than the reference on the tune questions."""
    best_round: int
    tune: tuple[float, ...]
    """Mean value of the tune questions' answers: of the reference, then after each round."""
    verdicts: tuple[Verdict, ...]
    """In order, up to the first that is no pass."""
    held_out: int
    changed: int
    """Held-out questions whose used documents differ."""
    rows: tuple[Row, ...]
    """Empty where the reader was not asked about the held-out questions, or did not answer."""


def run(
    task: Assignment,
    sides: Sides,
    reader: Reader,
    *,
    watch: Watch,
    say: Callable[[str], object],
) -> Outcome:
    """Run again after it was stopped, it asks for what is missing alone.  Raises `Unanswered` while it learns."""
    grades = Grades(reader=reader, metric=task.metric, watch=watch)
    start, start_folder = _reference(task)
    trained = _taught(task, start, sides, grades=grades, say=say)
    if trained.round == 0:
        return Outcome(
            reference=start.manifest.version,
            candidate=None,
            best_round=0,
            tune=trained.tune,
            verdicts=(),
            held_out=len(sides.held_out),
            changed=0,
            rows=(),
        )
    say("exporting and judging")
    made = _exported(task, start, trained)
    models = [
        Served.load(folder, manifest, precision=PRECISION, threads=task.threads)
        for folder, manifest in (
            (start_folder, start.manifest),
            (task.folder / "candidate", made.manifest),
        )
    ]
    return _judged(task, sides, trained, made, models=models, grades=grades)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """What answers are worth, from a reader that is watched."""

    reader: Reader
    metric: Metric
    watch: Watch

    def __call__(self, asks: Sequence[Ask], *, what: str) -> list[float]:
        prompted = [_prompt(question, shown) for question, shown in asks]
        together: dict[tuple[str, int], list[str]] = {}
        for (question, shown), prompt in zip(asks, prompted, strict=True):
            together.setdefault((question.text, shown[0]), []).append(prompt)
        groups = list(together.values())
        missing = sum(map(len, self.reader.missing(groups)))
        with self.watch(what, missing) as tell:
            self.reader.ask_all(groups, on_answer=tell)
        return [
            WORTH[self.metric](self.reader.answers[prompt], question.answers)
            for (question, _), prompt in zip(asks, prompted, strict=True)
        ]


def _prompt(question: Question, shown: Sequence[int]) -> str:
    return prompts.build(question.text, question.documents(shown))


def _reference(task: Assignment) -> tuple[Champion, Path]:
    given = Path(task.base)
    if (given / MANIFEST).is_file():
        return Champion.load(given), given
    folder = task.folder / "reference"
    _made(lambda draft: export.export_base(task.base, draft), folder)
    return Champion.load(folder), folder


def _taught(
    task: Assignment,
    start: Champion,
    sides: Sides,
    *,
    grades: Grades,
    say: Callable[[str], object],
) -> Trained:
    activations = Activations(
        start.reranker,
        start.tokenizer,
        pad_id=start.manifest.pad_id,
        max_bytes=SETTINGS.trainer_cache_bytes,
    )
    listings = [question.listing for question in (*sides.train, *sides.tune)]
    lesson = Lesson(train=sides.train, tune=sides.tune, temperature=start.temperature)
    say(f"{len(sides.train)} questions to learn from, {len(sides.tune)} to choose by")
    with Learner.of(start.reranker, task.capacity, activations, listings) as learner:
        return rrpo.train(learner, lesson, task.plan, reads=grades, say=say)


def _exported(task: Assignment, start: Champion, trained: Trained) -> Export:
    precisions = [name for name in export.PRECISIONS if name in start.manifest.variants]

    def make(folder: Path) -> Export:
        with start.wearing(trained.state):
            return export.export(start.model, folder, parent=start.manifest, precisions=precisions)

    return _made(make, task.folder / "candidate")


def _made(make: Callable[[Path], Export], folder: Path) -> Export:
    """The version appears whole or not at all, in place of one that was there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".export-") as parent:
        made = make(Path(parent) / "version")
        versions.place(made.folder, folder)
    return made


def _judged(
    task: Assignment,
    sides: Sides,
    trained: Trained,
    made: Export,
    *,
    models: Sequence[Served],
    grades: Grades,
) -> Outcome:
    reference, candidate = models
    pairs = replay.pairs(
        questions.requests(sides.held_out, used=task.plan.used),
        champion=reference,
        candidate=candidate,
    )
    agreement = made.parity[PRECISION].agreement
    verdicts = list(_verdicts(task, sides, pairs, agreement, models=models, grades=grades))
    asked = verdicts[-1].kind is Kind.REPLAY
    return Outcome(
        reference=reference.version,
        candidate=candidate.version,
        best_round=trained.round,
        tune=trained.tune,
        verdicts=tuple(verdicts),
        held_out=len(sides.held_out),
        changed=sum(pair.is_changed for pair in pairs),
        rows=_rows(sides.held_out, pairs, grades=grades) if asked else (),
    )


def _verdicts(
    task: Assignment,
    sides: Sides,
    pairs: Sequence[Pair],
    agreement: float,
    *,
    models: Sequence[Served],
    grades: Grades,
) -> Iterator[Verdict]:
    judged = GoldenSet(golden.judged())
    reference, candidate = models
    questions: tuple[Callable[[], Verdict], ...] = (
        lambda: gate.parity(agreement),
        lambda: gate.golden(judged.ndcg(candidate), judged.ndcg(reference)),
        lambda: _replayed(sides.held_out, pairs, alpha=task.alpha, grades=grades),
    )
    for ask in questions:
        verdict = ask()
        yield verdict
        if verdict.answer is not Answer.PASS:
            return


def _replayed(
    held_out: Sequence[Question], pairs: Sequence[Pair], *, alpha: float, grades: Grades
) -> Verdict:
    answers = {question.text: question.answers for question in held_out}
    budget = 2 * len(pairs)
    with grades.watch("held-out questions", budget) as tell:

        def value(query: str, documents: Sequence[str]) -> float:
            answer = grades.reader.answer(prompts.build(query, documents))
            tell()
            return WORTH[grades.metric](answer, answers[query])

        return gate.replay(
            Replay(pairs=pairs, value=value, budget=budget, at_once=grades.reader.at_once),
            alpha=alpha,
        )


def _rows(
    held_out: Sequence[Question], pairs: Sequence[Pair], *, grades: Grades
) -> tuple[Row, ...]:
    """Every metric before and after, from the answers of the gate and those where nothing changed."""
    before, after = (
        [
            prompts.build(pair.query, documents)
            for pair, documents in zip(pairs, orders, strict=True)
        ]
        for orders in ([pair.champion for pair in pairs], [pair.candidate for pair in pairs])
    )
    groups = [list(each) for each in zip(before, after, strict=True)]
    try:
        with grades.watch("the report", sum(map(len, grades.reader.missing(groups)))) as tell:
            grades.reader.ask_all(groups, on_answer=tell)
    except Unanswered:
        return ()
    known = grades.reader.answers

    def worth(metric: Metric, asked: Sequence[str]) -> NDArray[np.float64]:
        return np.array(
            [
                WORTH[metric](known[prompt], question.answers)
                for question, prompt in zip(held_out, asked, strict=True)
            ]
        )

    clusters = np.array(questions.clusters(held_out))
    return tuple(
        _row(metric, worth(metric, before), worth(metric, after), clusters) for metric in Metric
    )


def _row(
    metric: Metric,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    clusters: NDArray[np.int64],
) -> Row:
    return Row(
        metric=metric,
        before=float(before.mean()),
        after=float(after.mean()),
        gain=Mean.of(after - before, clusters),
    )
