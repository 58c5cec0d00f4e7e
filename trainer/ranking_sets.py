"""Ranking sets as the field keeps them: candidates as JSON lines, judgements as TREC qrels, and measures of both.

    candidates   {"qid": "1", "query": "...", "docs": [{"id": "d7", "text": "...", "score": 12.3}, ...]}
    qrels        1 0 d7 2

Documents come in the first stage's order. Everything is read line by line and a query is ranked at a time, so that a
set may be larger than memory; only the measures of each query are kept.
"""

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import ir_measures
import numpy as np
from ir_measures.measures import Measure
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract import plackett_luce
from contract.records import Candidate
from trainer.estimators import mean

Floats: TypeAlias = NDArray[np.float64]
Qrels: TypeAlias = Mapping[str, Mapping[str, int]]
"""Relevance by query and document."""

CUTOFF: Final = 10
RECALL_AT: Final = (1, 5, 10)
ALPHA: Final = 0.05

Id = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
"""Without white space: TREC's formats are separated by it."""


class SetRefused(ValueError):
    """A file that is not a ranking set; the message names the place."""


class _Doc(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)

    id: Id
    text: str
    score: float | None = None


class _Line(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    qid: Id
    query: str = Field(min_length=1)
    docs: list[_Doc] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One query with what the first stage found for it."""

    qid: str
    query: str
    candidates: tuple[Candidate, ...]
    """Best first; the key of each is its document's id."""

    @property
    def ids(self) -> list[str]:
        return [str(candidate.key) for candidate in self.candidates]

    def ranked(self, logits: Floats) -> list[str]:
        """Documents by falling logit; equal ones stay in the first stage's order.

        logits: (n,).
        """
        return [self.ids[position] for position in plackett_luce.greedy(logits)]


def read(path: Path) -> Iterator[Listed]:
    """The queries of a file, gzipped or not, in its order.  Raises `SetRefused`."""
    seen: set[str] = set()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        listed = _listed(line, place)
        if listed.qid in seen:
            raise SetRefused(f"{place}: query {listed.qid} came before")
        if len(set(listed.ids)) < len(listed.ids):
            raise SetRefused(f"{place}: two documents have the same id")
        seen.add(listed.qid)
        yield listed


def read_qrels(path: Path) -> Qrels:
    """Judgements in TREC's four columns.  Raises `SetRefused`."""
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_lines(path), 1):
        columns = line.split()
        if not columns:
            continue
        try:
            qid, _, document, relevance = columns
            qrels.setdefault(qid, {})[document] = int(relevance)
        except ValueError as error:
            message = f"{path}, line {number}: is not `query 0 document relevance`"
            raise SetRefused(message) from error
    if not qrels:
        raise SetRefused(f"{path} holds no judgements")
    return qrels


def measures(recall_at: Sequence[int] = RECALL_AT) -> list[Measure]:
    """nDCG@10, MRR@10 and recall at each of these depths."""
    return [
        ir_measures.nDCG @ CUTOFF,
        ir_measures.RR @ CUTOFF,
        *(ir_measures.R @ k for k in recall_at),
    ]


def measured(
    wanted: Sequence[Measure], qrels: Qrels, rankings: Iterable[tuple[str, Sequence[str]]]
) -> dict[Measure, dict[str, float]]:
    """Each measure of each judged query that is among the rankings.

    rankings: query and documents, best first.
    """
    evaluator = ir_measures.evaluator(wanted, {qid: dict(each) for qid, each in qrels.items()})
    found: dict[Measure, dict[str, float]] = {measure: {} for measure in wanted}
    for qid, ranking in rankings:
        if qid not in qrels:
            continue
        # By rank: scores may be equal, and each tool breaks such ties in its own way.
        run = {qid: {document: float(-place) for place, document in enumerate(ranking)}}
        for metric in evaluator.iter_calc(run):
            if metric.query_id == qid:
                found[metric.measure][qid] = float(metric.value)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over queries, with its 95 % interval by Student's t."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats, clusters: NDArray[np.int64] | None = None) -> "Mean":
        """values: (n,) one for each query.  clusters: (n,) what belongs together, where a query is not alone."""
        found = mean(values, np.arange(len(values)) if clusters is None else clusters)
        return cls(value=found.value, low=found.low(ALPHA / 2), high=found.high(ALPHA / 2))


def _listed(line: str, place: str) -> Listed:
    try:
        found = _Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise SetRefused(f"{place}: {said}") from error
    return Listed(
        qid=found.qid,
        query=found.query,
        candidates=tuple(Candidate(text=d.text, key=d.id, score=d.score) for d in found.docs),
    )


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise SetRefused(f"{path}: is not UTF-8 text") from error
    except (OSError, EOFError) as error:
        raise SetRefused(f"{path}: {getattr(error, 'strerror', None) or error}") from error
