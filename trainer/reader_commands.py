"""`rankloop train`: a reranker from questions with gold answers and a reader that may be asked, without a service."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from contract.artifact import ArtifactRejected
from contract.environment import cores
from trainer import base as bases
from trainer import datasets, gate, questions, reader_mode
from trainer import reader as readers
from trainer.answer_metrics import Metric
from trainer.base import BaseRefused
from trainer.datasets import DatasetRefused
from trainer.graphs import ExportRefused
from trainer.learner import Capacity
from trainer.questions import Sides
from trainer.reader import Answers, Api, Llm, Reader
from trainer.reader_mode import Assignment, Outcome
from trainer.replay import Unanswered
from trainer.rrpo import Plan

KEY: Final = "RANKLOOP_CLI_READER_KEY"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_SAYING: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@app.command()
def train(
    *,
    reader: Annotated[
        str, typer.Option(help="Base URL of an OpenAI-compatible API, such as http://host:8080/v1.")
    ],
    data: Annotated[
        Path, typer.Option(help="A folder with passages.jsonl and questions.SPLIT.jsonl.")
    ],
    out: Annotated[Path, typer.Option(help="Versions, report and answers go there.")] = Path(
        "trained"
    ),
    model: Annotated[str, typer.Option(help="The reader's name at that API.")] = readers.UNNAMED,
    api: Annotated[Api, typer.Option(help="Which of its endpoints is asked.")] = Api.CHAT,
    at_once: Annotated[int, typer.Option(min=1, help="Calls that wait at the same time.")] = 4,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Calls of this run; a further run goes on.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = readers.MAX_TOKENS,
    base: Annotated[
        str, typer.Option(help="What to start from: as for `up`, or the folder of a version.")
    ] = bases.MINILM,
    metric: Annotated[Metric, typer.Option(help="What an answer is worth.")] = Metric.F1,
    used: Annotated[int, typer.Option(min=1, help="Documents of a prompt.")] = 3,
    candidates: Annotated[int, typer.Option(min=2, help="Documents to rank.")] = 10,
    questions: Annotated[int, typer.Option(min=1, help="To learn from.")] = 500,
    tune: Annotated[int, typer.Option(min=1, help="That choose the best round.")] = 100,
    held_out: Annotated[int, typer.Option(min=1, help="That judge.")] = 400,
    rounds: Annotated[int, typer.Option(min=1, help="Of drawing, reading and learning.")] = 4,
    rollouts: Annotated[int, typer.Option(min=1, help="Rankings of a question in a round.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over a round's rankings.")] = 2,
    capacity: Annotated[Capacity, typer.Option(help="What is trained.")] = Capacity.LAST_LAYER,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate.")] = 3e-4,
    clip: Annotated[float, typer.Option(min=0, max=1, help="Of PPO's ratio.")] = 0.2,
    kl: Annotated[
        float, typer.Option(min=0, help="Weight of the divergence from the start.")
    ] = 0.1,
    alpha: Annotated[
        float, typer.Option(min=0, max=0.5, help="Over all tries with these held-out questions.")
    ] = 0.05,
    attempt: Annotated[
        int, typer.Option(min=1, help="Which try with these held-out questions this is.")
    ] = 1,
    seed: int = 0,
    threads: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
) -> None:
    """Teach a reranker with a reader's own answers, and judge it on held-out questions."""
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    threads = threads or cores()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    task = Assignment(
        base=base,
        folder=out,
        capacity=capacity,
        plan=Plan(
            used=used,
            rounds=rounds,
            rollouts=rollouts,
            epochs=epochs,
            lr=lr,
            clip=clip,
            kl=kl,
            batch=reader_mode.SETTINGS.trainer_batch,
            seed=seed,
        ),
        metric=metric,
        alpha=gate.spent(alpha, round_number=attempt, candidates=1),
        threads=threads,
    )
    with _refusals(), readers.client(reader, key=os.environ.get(KEY)) as client:
        sides = _sides(
            data, train=questions, tune=tune, held_out=held_out, candidates=candidates, seed=seed
        )
        llm = Llm(client=client, model=model, api=api, max_tokens=max_tokens)
        answers = Answers(out / "answers.jsonl", reader=llm.name)
        asked = Reader(llm=llm, answers=answers, at_once=at_once, max_calls=max_calls)
        outcome = reader_mode.run(task, sides, asked, watch=_watched, say=_SAYING.print)
    _keep(outcome, out / "report.json", calls=asked.calls)
    _show(outcome, out, calls=asked.calls)


def _sides(data: Path, **wanted: int) -> Sides:
    """Raises `DatasetRefused` where a side has no question."""
    found = questions.sides(datasets.load(data), **wanted)
    for name, side in (
        ("train", found.train),
        ("validation", found.tune),
        ("test", found.held_out),
    ):
        if not side:
            raise DatasetRefused(f"{data} has no {name} question with an answer")
    return found


@contextmanager
def _watched(what: str, missing: int) -> Iterator[Callable[[], object]]:
    """A line on the terminal that says how many answers came."""
    with Progress(console=_SAYING, transient=True) as progress:
        bar = progress.add_task(f"answers: {what}", total=missing)
        yield lambda: progress.advance(bar)


def _keep(outcome: Outcome, path: Path, *, calls: int) -> None:
    path.write_text(json.dumps(_plain({**asdict(outcome), "calls": calls}), indent=1) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401 -- of JSON
    """What is not finite is not known."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _show(outcome: Outcome, out: Path, *, calls: int) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{calls} calls of the reader")
    if outcome.candidate is None:
        console.print("no round was better than the start on the tune questions: nothing to judge")
        return
    if outcome.rows:
        console.print(_table(outcome))
    console.print(f"used documents differ for {outcome.changed} of {outcome.held_out} questions")
    for verdict in outcome.verdicts:
        console.print(f"{verdict.kind}: {verdict.answer}, {verdict.reason}")
    console.print(f"version {outcome.candidate} in {out / 'candidate'}")


def _table(outcome: Outcome) -> Table:
    table = Table("held-out answers", "before", "after", "gain", "95 %", "n")
    for row in outcome.rows:
        table.add_row(
            str(row.metric),
            f"{row.before:.4f}",
            f"{row.after:.4f}",
            f"{row.gain.value:+.4f}",
            f"{row.gain.low:+.4f} to {row.gain.high:+.4f}",
            str(outcome.held_out),
        )
    return table


@contextmanager
def _refusals() -> Iterator[None]:
    """A refusal is a message, not a traceback."""
    try:
        yield
    except Unanswered as failure:
        _refuse(
            f"the reader gave no answer: {failure}; what it answered is kept, run again to go on"
        )
    except (ArtifactRejected, BaseRefused, DatasetRefused, ExportRefused) as refusal:
        _refuse(str(refusal))


def _refuse(message: str) -> NoReturn:
    _SAYING.print(message, style="red")
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="rankloop train")
