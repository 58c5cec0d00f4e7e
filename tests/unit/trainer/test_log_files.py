import dataclasses
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.policy import Choice, Policy, log_propensity
from contract.records import Arm, Candidate, Decision, Source
from contract.rewards import RewardSpec
from trainer import log_files
from trainer.examples import Example, Origin, Skipped
from trainer.log_files import KEY, SCHEMA, About, LogFile, LogRefused, LogWriter

ABOUT = About(line="default", spec=RewardSpec().definition(), skipped={"withdrawn": 2})


def an_example(number: int = 1, *, version: str = "v1", arm: Arm = Arm.CHAMPION, **changes):
    """Three documents, of which the second best was shown first."""
    logits, shown = np.array([0.1, -2.5, 1.0 / 3.0]), np.array([0, 2, 1])
    policy = Policy(epsilon=0.3, temperature=0.7, sampled=3, max_fall=2)
    decision = Decision(
        id=UUID(int=number),
        tenant="acme",
        line="default",
        query="How long is the warranty?",
        candidates=(
            Candidate(text="One year.", key="old", score=3.0),
            Candidate(text="Ask us."),
            Candidate(text="Two years — ünïcode.", key="new", score=-1.5),
        ),
        logits=logits,
        policy=policy,
        choice=Choice(
            shown=shown, cum_log_propensity=log_propensity(logits, shown, policy), explored=True
        ),
        version=version,
        epoch=7,
        precision="int8",
        arm=arm,
    )
    fields: dict[str, Any] = {
        "decision": decision,
        "used": 2,
        "reward": 1.0 / 3.0,
        "credits": {2: 0.0, 0: 0.9},
        "cited": frozenset({2}),
        "query_sha256": bytes(range(32)),
        "fresh": True,
        "weight": 1.0 / 0.7,
        "reference": 0.25,
        "reader": "a model",
        "origins": frozenset(
            {Origin("acme", Source.HUMAN, "reviewer"), Origin("acme", Source.CODE, "clicks")}
        ),
    }
    return Example(**fields | changes)


def written(path, chunks, about=ABOUT):
    with LogWriter(path) as writer:
        for chunk in chunks:
            writer.add(chunk)
        writer.finish(about)
    return path


def read(path, *, champion="v1", newest=1_000):
    return list(LogFile.open(path).read(champion=champion, newest=newest))


def plain(value):
    """What two examples are compared by: arrays as their type and their numbers."""
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    return tuple(map(plain, value)) if type(value) is tuple else value


def changed(path, change):
    """The file with every row changed, as another program might write it."""
    table = pq.read_table(path)
    rows = [change(row) for row in table.to_pylist()]
    with pq.ParquetWriter(path, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        writer.add_key_value_metadata({KEY: ABOUT.to_json()})


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path):
    examples = [
        an_example(1),
        an_example(
            2, credits={}, cited=frozenset(), origins=frozenset(), used=3, weight=1.0, reader=None
        ),
    ]

    found = read(written(tmp_path / "log", [examples]))

    assert list(map(plain, found)) == list(map(plain, examples))


def test_a_file_says_what_it_is(tmp_path):
    log = LogFile.open(written(tmp_path / "log", [[an_example()]]))

    assert (log.decisions, log.about.line) == (1, "default")
    assert log.about.skipped == {"withdrawn": 2}
    assert log.about.spec["names"] == list(RewardSpec().names)
    assert log.about.spec["sources"] == ["HUMAN", "END_USER", "LLM_JUDGE", "CODE"]


def test_only_what_the_champion_decided_is_fresh(tmp_path):
    path = written(tmp_path / "log", [[an_example(1, version="v1"), an_example(2, version="v2")]])

    assert [each.fresh for each in read(path, champion="v2")] == [False, True]


def test_the_version_that_served_last_is_the_newest_champion(tmp_path):
    rows = [
        [an_example(1, version="v1"), an_example(2, version="v2")],
        [an_example(3, version="v3", arm=Arm.CANARY), an_example(4, version="v3", arm=Arm.PINNED)],
    ]

    assert LogFile.open(written(tmp_path / "log", rows)).champion() == "v2"


def test_a_log_of_canaries_alone_has_no_version_that_served_last(tmp_path):
    path = written(tmp_path / "log", [[an_example(1, arm=Arm.CANARY)]])

    with pytest.raises(LogRefused, match="no decision of a champion"):
        LogFile.open(path).champion()


@pytest.mark.parametrize(
    ("newest", "numbers"),
    [(1, [5]), (2, [4, 5]), (3, [3, 4, 5]), (4, [2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])],
)
def test_the_newest_are_read_wherever_row_groups_end(tmp_path, monkeypatch, newest, numbers):
    monkeypatch.setattr(log_files, "READ_AT_ONCE", 2)
    examples = list(map(an_example, range(1, 6)))
    path = written(tmp_path / "log", [examples[:2], examples[2:3], examples[3:]])

    assert [each.decision.id.int for each in read(path, newest=newest)] == numbers


def test_texts_are_stored_once_in_a_row_group(tmp_path):
    rng = np.random.default_rng(0)
    text = "".join(map(chr, rng.integers(0x4E00, 0x9000, size=50_000)))  # hardly compressible
    candidates = tuple(Candidate(text=text + end) for end in "abc")
    examples = [
        replace(each, decision=replace(each.decision, candidates=candidates))
        for each in map(an_example, range(40))
    ]

    path = written(tmp_path / "log", [examples])

    # Three texts of 150,000 bytes, not 120.
    assert path.stat().st_size < 4 * 150_000


def test_a_propensity_that_does_not_follow_from_the_logits_is_left_out(tmp_path):
    path = written(tmp_path / "log", [[an_example()]])

    changed(path, lambda row: row | {"cum_log_propensity": [-9.0, -9.5, -9.5]})

    assert read(path) == [Skipped.QUARANTINED]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"query": None}, Skipped.TEXT_MISSING),
        ({"documents": [{"text": None, "key": None, "score": None}] * 3}, Skipped.TEXT_MISSING),
        ({"used": 0}, Skipped.NOTHING_USED),
    ],
)
def test_what_was_erased_or_never_used_is_left_out_by_reason(tmp_path, change, reason):
    path = written(tmp_path / "log", [[an_example()]])

    changed(path, lambda row: row | change)

    assert read(path) == [reason]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [1.0]}, "row 1, .* one logit for each document"),
        ({"shown": [0, 0, 1]}, "what was shown are not its documents"),
        ({"shown": [0, 1, 3]}, "what was shown are not its documents"),
        ({"shown": [-1, 0, 1]}, "what was shown are not its documents"),
        ({"shown": []}, "what was shown are not its documents"),
        ({"cum_log_propensity": [-1.0]}, "one propensity for each shown document"),
        ({"epsilon": 0.0}, "nothing is drawn by its policy"),
        ({"temperature": 0.0}, "nothing is drawn by its policy"),
        ({"arm": "left"}, "'left' is not a valid Arm"),
        ({"decision_id": "7"}, "decision 7: badly formed"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path, change, message):
    path = written(tmp_path / "log", [[an_example()]])

    changed(path, lambda row: row | change)

    with pytest.raises(LogRefused, match=message):
        read(path)


def test_a_decision_that_is_there_twice_is_named(tmp_path):
    path = written(tmp_path / "log", [[an_example(1)], [an_example(2), an_example(1)]])

    with pytest.raises(LogRefused, match=f"row 3, decision {UUID(int=1)}: it is there twice"):
        read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(LogRefused, match="nowhere"):
        LogFile.open(tmp_path / "nowhere")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "log"
    path.write_text("decision_id,reward\n1,0.5\n")

    with pytest.raises(LogRefused, match="is not a Parquet file"):
        LogFile.open(path)


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "log"
    pq.write_table(pa.table({"reward": [0.5]}), path)

    with pytest.raises(LogRefused, match="was not written by `rankloop export-log`"):
        LogFile.open(path)


def test_a_format_of_another_release_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "FORMAT", 3)
    path = written(tmp_path / "log", [[an_example()]])
    monkeypatch.undo()

    with pytest.raises(LogRefused, match="has format 3, and 2 is read here"):
        LogFile.open(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lambda table: table.drop_columns(["logits"]), "has no column logits"),
        (
            lambda table: table.set_column(0, "decision_id", pa.array([1])),
            "column decision_id is int64, not string",
        ),
    ],
)
def test_a_column_that_is_missing_or_of_another_type_is_named(tmp_path, columns, message):
    path = written(tmp_path / "log", [[an_example()]])

    pq.write_table(
        columns(pq.read_table(path)).replace_schema_metadata({KEY: ABOUT.to_json()}), path
    )

    with pytest.raises(LogRefused, match=message):
        LogFile.open(path)


def test_an_empty_log_is_refused(tmp_path):
    path = written(tmp_path / "log", [])

    with pytest.raises(LogRefused, match="holds no decision"):
        LogFile.open(path)


def test_a_file_that_is_damaged_in_the_middle_is_refused(tmp_path):
    path = written(tmp_path / "log", [[an_example(number) for number in range(300)]])
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(len(whole) // 4) + whole[4 + len(whole) // 4 :])

    with pytest.raises(LogRefused, match="is damaged"):
        read(path)


def test_what_a_file_says_of_itself_is_json(tmp_path):
    path = written(tmp_path / "log", [[an_example()]])

    said = json.loads(pq.read_metadata(path).metadata[KEY])

    assert sorted(said) == ["format", "line", "skipped", "spec"]
