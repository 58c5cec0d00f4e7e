"""A line's rewarded decisions in a Parquet file, to learn from again where there is no database.

One row is one decision with all that a round knows of it, oldest first; `docs/learning.md` lists the columns. It is
written and read a few rows at a time, and what is read is checked again as a round checks what it reads.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from contract.records import Arm, Source
from contract.refusals import Refusal
from trainer import examples
from trainer.examples import Example, Origin, Skipped

FORMAT: Final = 2
KEY: Final = b"rankloop"
"""Of the file's metadata: what it is, as JSON."""
ROWS: Final = 500
"""Of a row group, and in memory while it is written."""
READ_AT_ONCE: Final = 100
DICTIONARY_BYTES: Final = 32 << 20
"""A text is stored once in a row group, up to so much of them: the writer's own 1 MB would hold few."""


class LogRefused(Refusal):
    """The file is no log that can be learned from."""


def _required(name: str, type_: pa.DataType) -> pa.Field:
    return pa.field(name, type_, nullable=False)


def _list(element: pa.DataType) -> pa.DataType:
    return pa.list_(_required("element", element))


def _records(*fields: pa.Field) -> pa.DataType:
    return _list(pa.struct(fields))


SCHEMA: Final = pa.schema(
    [
        _required("decision_id", pa.string()),
        _required("tenant", pa.string()),
        _required("line", pa.string()),
        pa.field("query", pa.string()),  # null: erased since
        _required("query_sha256", pa.binary(32)),
        _required(
            "documents",
            _records(
                pa.field("text", pa.string()),  # the part that was scored; null: erased since
                pa.field("key", pa.string()),
                pa.field("score", pa.float64()),
            ),
        ),
        _required("logits", _list(pa.float64())),
        _required("epsilon", pa.float64()),
        _required("temperature", pa.float64()),
        _required("sampled", pa.int32()),
        pa.field("max_fall", pa.int32()),
        _required("shown", _list(pa.int32())),
        _required("cum_log_propensity", _list(pa.float64())),
        _required("explored", pa.bool_()),
        _required("arm", pa.string()),
        _required("version", pa.string()),
        _required("epoch", pa.int64()),
        _required("precision", pa.string()),
        _required("used", pa.int32()),
        _required("cited", _list(pa.int32())),
        pa.field("reader", pa.string()),
        _required("reward", pa.float64()),
        _required(
            "credits", _records(_required("document", pa.int32()), _required("value", pa.float64()))
        ),
        _required("weight", pa.float64()),
        _required(
            "origins", _records(_required("type", pa.string()), _required("id", pa.string()))
        ),
        pa.field("reference", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a file says of itself."""

    line: str
    spec: Mapping[str, Any]
    """The reward spec by which its decisions are rewarded."""
    skipped: Mapping[str, int]
    """Rewarded decisions that were left out, by reason."""

    def to_json(self) -> str:
        return json.dumps(
            {"format": FORMAT, "line": self.line, "spec": self.spec, "skipped": self.skipped}
        )


class LogWriter:
    """Writes one file, a row group for each call of `add`."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetWriter(
            path, SCHEMA, compression="zstd", dictionary_pagesize_limit=DICTIONARY_BYTES
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, chunk: Sequence[Example]) -> None:
        self._file.write_table(pa.Table.from_pylist(list(map(row, chunk)), schema=SCHEMA))

    def finish(self, about: About) -> None:
        """Says what the file is: without it, it is none of ours."""
        self._file.add_key_value_metadata({KEY: about.to_json()})


def row(example: Example) -> dict[str, Any]:
    decision = example.decision
    choice, policy = decision.choice, decision.policy
    return {
        "decision_id": str(decision.id),
        "tenant": decision.tenant,
        "line": decision.line,
        "query": decision.query,
        "query_sha256": example.query_sha256,
        "documents": [
            {"text": each.text, "key": each.key, "score": each.score}
            for each in decision.candidates
        ],
        "logits": decision.logits.tolist(),
        "epsilon": policy.epsilon,
        "temperature": policy.temperature,
        "sampled": policy.sampled,
        "max_fall": policy.max_fall,
        "shown": choice.shown.tolist(),
        "cum_log_propensity": choice.cum_log_propensity.tolist(),
        "explored": choice.explored,
        "arm": decision.arm.value,
        "version": decision.version,
        "epoch": decision.epoch,
        "precision": decision.precision,
        "used": example.used,
        "cited": sorted(example.cited),
        "reader": example.reader,
        "reward": example.reward,
        "credits": [
            {"document": at, "value": value} for at, value in sorted(example.credits.items())
        ],
        "weight": example.weight,
        "origins": [{"type": each.type.value, "id": each.id} for each in sorted(example.origins)],
        "reference": example.reference,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A file that was opened and is what it should be, as far as its head tells."""

    path: Path
    about: About
    decisions: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises `LogRefused`."""
        try:
            with pq.ParquetFile(path) as file:
                about = _about(file, path)
                _refuse_other_columns(file.schema_arrow, path)
                decisions = file.metadata.num_rows
        except OSError as error:
            raise LogRefused(f"{path}: {error.strerror or error}") from error
        except pa.ArrowException as error:
            raise LogRefused(f"{path} is not a Parquet file: {error}") from error
        if not decisions:
            raise LogRefused(f"{path} holds no decision")
        return cls(path=path, about=about, decisions=decisions)

    def champion(self) -> str:
        """The version that served at the end: of the newest decision that was no canary's.  Raises `LogRefused`."""
        with self._whole() as file:
            for group in reversed(range(file.num_row_groups)):
                made = file.read_row_group(group, columns=["arm", "version"]).to_pylist()
                for each in reversed(made):
                    if each["arm"] == Arm.CHAMPION:
                        return str(each["version"])
        raise LogRefused(f"{self.path} has no decision of a champion: name a version with --base")

    def read(self, *, champion: str, newest: int) -> Iterator[Example | Skipped]:
        """Up to so many, oldest first; what other versions decided is not fresh.  Raises `LogRefused`."""
        seen: set[str] = set()
        bodies: dict[str, str] = {}
        for number, each in enumerate(self._rows(newest), max(0, self.decisions - newest) + 1):
            try:
                if each["decision_id"] in seen:
                    raise ValueError("it is there twice")  # noqa: TRY301 -- told with the others
                yield _example(_shared(each, bodies), champion=champion)
            except ValueError as error:
                reason = f"{self.path}: row {number}, decision {each['decision_id']}: {error}"
                raise LogRefused(reason) from error
            seen.add(each["decision_id"])

    def _rows(self, newest: int) -> Iterator[dict[str, Any]]:
        passed = max(0, self.decisions - newest)
        with self._whole() as file:
            first = 0
            while passed and passed >= (size := file.metadata.row_group(first).num_rows):
                passed, first = passed - size, first + 1
            groups = list(range(first, file.num_row_groups))
            for batch in file.iter_batches(READ_AT_ONCE, groups, columns=SCHEMA.names):
                for each in batch.to_pylist():
                    if passed:
                        passed -= 1
                    else:
                        yield each

    @contextmanager
    def _whole(self) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise LogRefused(f"{self.path} is damaged: {error}") from error


def _about(file: pq.ParquetFile, path: Path) -> About:
    said = (file.metadata.metadata or {}).get(KEY)
    if said is None:
        raise LogRefused(f"{path} was not written by `rankloop export-log`")
    found = json.loads(said)
    if found["format"] != FORMAT:
        raise LogRefused(f"{path} has format {found['format']}, and {FORMAT} is read here")
    return About(line=found["line"], spec=found["spec"], skipped=found["skipped"])


def _refuse_other_columns(schema: pa.Schema, path: Path) -> None:
    for wanted in SCHEMA:
        if wanted.name not in schema.names:
            raise LogRefused(f"{path} has no column {wanted.name}")
        found = schema.field(wanted.name)
        if not found.equals(wanted):
            raise LogRefused(f"{path}: column {wanted.name} is {found.type}, not {wanted.type}")


def _example(each: Mapping[str, Any], *, champion: str) -> Example | Skipped:
    """Raises ValueError where the row makes no sense."""
    _refuse_nonsense(each)
    credit = {said["document"]: said["value"] for said in each["credits"]}
    found = examples.example(
        _as_stored(each),
        {
            "reward": each["reward"],
            "credits": [credit.get(at) for at in range(len(each["documents"]))],
            "observation": None,
            "first_rewarded": 0,
        },
        xid_from=0,
    )
    if not isinstance(found, Example):
        return found
    return replace(
        found,
        fresh=each["version"] == champion,
        weight=each["weight"],
        reference=each["reference"],
        origins=frozenset(
            Origin(each["tenant"], Source(said["type"]), said["id"]) for said in each["origins"]
        ),
    )


def _shared(each: dict[str, Any], bodies: dict[str, str]) -> dict[str, Any]:
    """Many decisions share a passage, and memory holds it once."""
    for document in each["documents"]:
        text = document["text"]
        document["text"] = None if text is None else bodies.setdefault(text, text)
    return each


def _as_stored(each: Mapping[str, Any]) -> dict[str, Any]:
    """The row as the database would have it."""
    documents = each["documents"]
    return {
        **each,
        "decision_id": UUID(each["decision_id"]),
        "not_learnable": None,
        "candidate_texts": documents,
        "candidate_keys": [said["key"] for said in documents],
        "first_stage_scores": [said["score"] for said in documents],
        "span_starts": None,
        "span_ends": None,
        "documents": [said["text"] for said in documents],
        "used_k": each["used"],
        "used": None,
        "citations": each["cited"],
    }


def _refuse_nonsense(each: Mapping[str, Any]) -> None:
    positions = set(range(len(each["documents"])))
    if len(each["logits"]) != len(positions):
        raise ValueError("it has not one logit for each document")
    if not each["shown"] or Counter(each["shown"]) - Counter(positions):
        raise ValueError("what was shown are not its documents")
    if len(each["cum_log_propensity"]) != len(each["shown"]):
        raise ValueError("it has not one propensity for each shown document")
    if not (0 < each["epsilon"] <= 1 and each["temperature"] > 0):
        raise ValueError("nothing is drawn by its policy")
