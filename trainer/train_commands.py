"""`rankloop train`: a reranker without a service, from a reader's answers to questions or from a log in a file."""

import logging
import os
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from pydantic import ValidationError

from contract.environment import cores
from contract.refusals import Refusal
from trainer import base as bases
from trainer import datasets, gate, log_mode, questions, reader_mode, train_reports
from trainer import reader as readers
from trainer.answer_metrics import Metric
from trainer.base import BaseRefused
from trainer.console import SAYING, refusals, refuse, watched
from trainer.datasets import DatasetRefused
from trainer.graphs import ExportRefused
from trainer.learner import Capacity
from trainer.log_mode import OfflineSettings
from trainer.questions import Sides
from trainer.reader import Answers, Api, Llm, Reader
from trainer.reader_mode import Assignment
from trainer.replay import Unanswered
from trainer.rrpo import Plan

KEY: Final = "RANKLOOP_CLI_READER_KEY"
FOR_BOTH: Final = {"out", "base", "alpha", "attempt", "seed", "threads"}
FOR_LOG: Final = {"log", "newest"}
REFUSED: Final = (BaseRefused, DatasetRefused, ExportRefused, Refusal)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    context: typer.Context,
    *,
    reader: Annotated[
        str | None,
        typer.Option(help="Base URL of an OpenAI-compatible API, such as http://host:8080/v1."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="A file of `rankloop export-log`, instead of a reader.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Of a reader: a folder with passages.jsonl and questions.SPLIT.jsonl."),
    ] = None,
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
        str | None,
        typer.Option(
            help="What to start from. With a reader as for `up`, or the folder of a version; with a log the version"
            " that served, by name or folder: without, the one that served last."
        ),
    ] = None,
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
    lr: Annotated[
        float | None,
        typer.Option(min=0, help="Learning rate; 3e-4 by default, and 2e-5 of everything."),
    ] = None,
    clip: Annotated[float, typer.Option(min=0, max=1, help="Of PPO's ratio.")] = 0.2,
    kl: Annotated[
        float, typer.Option(min=0, help="Weight of the divergence from the start.")
    ] = 0.1,
    newest: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of a log: so many decisions at most; without, RANKLOOP_TRAINER_REPLAY."
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.5, help="Over all tries with these held-out questions or this log; .05."
        ),
    ] = None,
    attempt: Annotated[int, typer.Option(min=1, help="Which of these tries this is.")] = 1,
    seed: int = 0,
    threads: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
) -> None:
    """Teach a reranker with a reader's own answers or with a log, and judge it on what it has not seen."""
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    threads = threads or cores()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    match reader, log:
        case None, Path() as file:
            _refuse_given(context, of=set(context.params) - FOR_BOTH - FOR_LOG, with_="--log")
            _by_log(
                log_mode.Assignment(
                    log=file,
                    base=base,
                    folder=out,
                    settings=_settings(trainer_alpha=alpha, trainer_replay=newest),
                    attempt=attempt,
                    seed=seed,
                    threads=threads,
                )
            )
        case str() as url, None:
            _refuse_given(context, of=FOR_LOG, with_="--reader")
            default = reader_mode.SETTINGS.trainer_alpha
            task = Assignment(
                base=base or bases.MINILM,
                folder=out,
                capacity=capacity,
                plan=Plan(
                    used=used,
                    rounds=rounds,
                    rollouts=rollouts,
                    epochs=epochs,
                    lr=_rate(capacity) if lr is None else lr,
                    clip=clip,
                    kl=kl,
                    batch=reader_mode.SETTINGS.trainer_batch,
                    seed=seed,
                ),
                metric=metric,
                alpha=gate.spent(
                    default if alpha is None else alpha, round_number=attempt, candidates=1
                ),
                threads=threads,
            )
            with refusals(*REFUSED), readers.client(url, key=os.environ.get(KEY)) as client:
                sides = _sides(
                    data,
                    train=questions,
                    tune=tune,
                    held_out=held_out,
                    candidates=candidates,
                    seed=seed,
                )
                llm = Llm(client=client, model=model, api=api, max_tokens=max_tokens)
                answers = Answers(out / "answers.jsonl", reader=llm.name)
                _by_reader(
                    task,
                    sides,
                    Reader(llm=llm, answers=answers, at_once=at_once, max_calls=max_calls),
                )
        case _:
            refuse("name one of --reader and --log: what shall teach")


def _by_log(task: log_mode.Assignment) -> None:
    with refusals(*REFUSED):
        outcome = log_mode.run(task, watch=watched, say=SAYING.print)
    train_reports.keep_log(outcome, task.folder)
    train_reports.show_log(outcome, task.folder)


def _by_reader(task: Assignment, sides: Sides, reader: Reader) -> None:
    try:
        outcome = reader_mode.run(
            task,
            sides,
            reader,
            watch=lambda what, total: watched(f"answers: {what}", total),
            say=SAYING.print,
        )
    except Unanswered as failure:
        refuse(
            f"the reader gave no answer: {failure}; what it answered is kept, run again to go on"
        )
    train_reports.keep(outcome, task.folder, calls=reader.calls)
    train_reports.show(outcome, task.folder, calls=reader.calls)


def _rate(capacity: Capacity) -> float:
    """A whole model forgets at the rates of its parts."""
    return 2e-5 if capacity is Capacity.EVERYTHING else 3e-4


def _settings(**given: float | None) -> OfflineSettings:
    """The trainer's, as its variables say, and what was said here."""
    try:
        settings = OfflineSettings()
    except ValidationError as error:
        refuse("\n".join(problem["msg"] for problem in error.errors()))
    said = {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update=said)


def _sides(data: Path | None, **wanted: int) -> Sides:
    """Raises `DatasetRefused` where a side has no question."""
    if data is None:
        raise DatasetRefused("--reader wants --data: a folder with questions and gold answers")
    found = questions.sides(datasets.load(data), **wanted)
    for name, side in (
        ("train", found.train),
        ("validation", found.tune),
        ("test", found.held_out),
    ):
        if not side:
            raise DatasetRefused(f"{data} has no {name} question with an answer")
    return found


def _refuse_given(context: typer.Context, *, of: set[str], with_: str) -> None:
    """An option that would change nothing is a mistake."""
    sources = {name: context.get_parameter_source(name) for name in of}
    given = sorted(
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source is not None and source.name != "DEFAULT"
    )
    if given:
        refuse(f"{with_} does not take {', '.join(given)}")


if __name__ == "__main__":
    app(prog_name="rankloop train")
