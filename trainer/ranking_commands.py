"""`rankloop evaluate` and `rankloop score`: a version of the model over any ranking set, without a service."""

import json as jsonlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import numpy as np
import typer
from ir_measures.measures import Measure
from rich.table import Table

from contract.artifact import ArtifactRejected
from contract.environment import cores
from trainer import drafts, ranking_sets, versions
from trainer.console import TELLING, refusals, refuse, watched
from trainer.ranking_sets import Listed, Mean, Qrels, SetRefused
from trainer.scoring import Served

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A version of the model over a ranking set of yours.",
)

Candidates = Annotated[
    Path,
    typer.Option(
        help='JSON lines, gzipped or not: {"qid", "query", "docs": [{"id", "text", "score"?}]}.'
    ),
]
ModelName = Annotated[
    str, typer.Option("--model", help="A version, or the folder of one (its manifest.json).")
]
Precision = Annotated[str, typer.Option(help="Which of its files: float32 or int8.")]
Threads = Annotated[int, typer.Option(min=0, help="Of one inference; 0 takes every core.")]


ByQuery: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure, over all judged queries; a query that has no candidates counts 0."""

    measure: Measure
    first_stage: float
    model: float
    gain: Mean
    """Of the model over the first stage, paired by query."""

    @classmethod
    def of(cls, measure: Measure, qids: list[str], ours: ByQuery, theirs: ByQuery) -> Self:
        model, first_stage = (
            np.array([each.get(qid, 0.0) for qid in qids]) for each in (ours, theirs)
        )
        return cls(
            measure=measure,
            first_stage=float(first_stage.mean()),
            model=float(model.mean()),
            gain=Mean.of(model - first_stage),
        )


@app.command()
def evaluate(
    *,
    candidates: Candidates,
    qrels: Annotated[Path, typer.Option(help="TREC judgements: query 0 document relevance.")],
    model: ModelName,
    k: Annotated[
        list[int] | None, typer.Option(min=1, help="Depth of a recall; may be repeated.")
    ] = None,
    precision: Precision = "float32",
    threads: Threads = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print nDCG@10, MRR@10 and recall@k of a version and of the order that the candidates came in."""
    with refusals(SetRefused, ArtifactRejected):
        judged = ranking_sets.read_qrels(qrels)
        served = _served(model, precision=precision, threads=threads)
        wanted = ranking_sets.measures(k or ranking_sets.RECALL_AT)
        rows, unranked = _compared(wanted, judged, served, candidates)
    if json:
        typer.echo(jsonlib.dumps(_as_json(rows, judged, served, unranked=unranked), indent=1))
    else:
        _show(rows, judged, served, unranked=unranked)


@app.command()
def score(
    *,
    candidates: Candidates,
    model: ModelName,
    out: Annotated[Path, typer.Option(help="A TREC run: query Q0 document rank score version.")],
    precision: Precision = "float32",
    threads: Threads = 0,
) -> None:
    """Write a version's score of every candidate; the logits that `raw_scores` shows."""
    with refusals(SetRefused, ArtifactRejected):
        served = _served(model, precision=precision, threads=threads)
        try:
            with drafts.draft(out) as draft, draft.open("w", encoding="utf-8") as run:
                for listed in _followed(candidates):
                    run.writelines(_run_lines(listed, served))
        except OSError as error:
            refuse(f"{out}: {error.strerror}")


def _run_lines(listed: Listed, served: Served) -> Iterator[str]:
    logits = served.logits(listed.query, listed.candidates)
    scores = dict(zip(listed.ids, served.anchored(logits).tolist(), strict=True))
    for rank, document in enumerate(listed.ranked(logits), 1):
        yield f"{listed.qid} Q0 {document} {rank} {scores[document]:.6f} {served.version[:12]}\n"


def _compared(
    wanted: list[Measure], judged: Qrels, served: Served, candidates: Path
) -> tuple[list[Row], int]:
    """The rows, and how many judged queries have no candidates."""
    first_stage: list[tuple[str, list[str]]] = []
    ours: list[tuple[str, list[str]]] = []
    for listed in _followed(candidates):
        if listed.qid not in judged:
            continue
        first_stage.append((listed.qid, listed.ids))
        ours.append((listed.qid, listed.ranked(served.logits(listed.query, listed.candidates))))
    if not ours:
        raise SetRefused(f"{candidates}: none of its queries is judged")
    qids = list(judged)
    of_model, of_first_stage = (
        ranking_sets.measured(wanted, judged, rankings) for rankings in (ours, first_stage)
    )
    rows = [Row.of(each, qids, of_model[each], of_first_stage[each]) for each in wanted]
    return rows, len(judged) - len(ours)


def _followed(candidates: Path) -> Iterator[Listed]:
    """The queries, with a line on the terminal that says how far it is."""
    with watched("queries", None) as done:
        for listed in ranking_sets.read(candidates):
            yield listed
            done()


def _served(model: str, *, precision: str, threads: int) -> Served:
    folder, manifest = versions.found(model)
    return Served.load(folder, manifest, precision=precision, threads=threads or cores())


def _show(rows: list[Row], judged: Qrels, served: Served, *, unranked: int) -> None:
    table = Table("measure", "first stage", f"model {served.version[:12]}", "gain", "95 %")
    for row in rows:
        gain = row.gain
        table.add_row(
            str(row.measure),
            f"{row.first_stage:.4f}",
            f"{row.model:.4f}",
            f"{gain.value:+.4f}",
            f"{gain.low:+.4f} to {gain.high:+.4f}",
        )
    TELLING.print(table)
    TELLING.print(
        f"{len(judged)} judged queries, {unranked} of them without candidates, which count 0"
    )


def _as_json(rows: list[Row], judged: Qrels, served: Served, *, unranked: int) -> dict[str, Any]:
    return {
        "version": served.version,
        "precision": served.precision,
        "queries": len(judged),
        "without_candidates": unranked,
        "measures": {
            str(row.measure): {
                "first_stage": row.first_stage,
                "model": row.model,
                "gain": {
                    name: value if isfinite(value) else None
                    for name, value in asdict(row.gain).items()
                },
            }
            for row in rows
        },
    }


if __name__ == "__main__":
    app(prog_name="rankloop")
