import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import ranking_sets
from trainer.ranking_sets import Mean, SetRefused


def a_line(**changes: Any) -> str:
    docs = [{"id": "d1", "text": "one", "score": 2.5}, {"id": "d2", "text": "two"}]
    return json.dumps({"qid": "q1", "query": "who", "docs": docs} | changes)


def written(folder: Path, *lines: str, name: str = "set.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_query_comes_with_its_documents_in_order(tmp_path: Path) -> None:
    (listed,) = ranking_sets.read(written(tmp_path, a_line(), ""))

    assert (listed.qid, listed.query, listed.ids) == ("q1", "who", ["d1", "d2"])
    assert [candidate.text for candidate in listed.candidates] == ["one", "two"]
    assert [candidate.score for candidate in listed.candidates] == [2.5, None]


def test_ids_may_be_numbers_and_files_gzipped(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(a_line(qid=7, docs=[{"id": 3, "text": "a"}]))

    (listed,) = ranking_sets.read(path)

    assert (listed.qid, listed.ids) == ("7", ["3"])


def test_equal_logits_stay_in_the_order_of_the_first_stage(tmp_path: Path) -> None:
    docs = [{"id": name, "text": name} for name in "abc"]
    (listed,) = ranking_sets.read(written(tmp_path, a_line(docs=docs)))

    assert listed.ranked(np.array([0.0, 1.0, 0.0])) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ("[]", "line 2"),
        (a_line(qid="q2", query=""), "line 2: query"),
        (a_line(qid="q2", docs=[]), "line 2: docs"),
        (a_line(qid="q2", docs=[{"id": "a b", "text": "a"}]), r"line 2: docs\.0\.id"),
        (a_line(qid="q2", docs=[{"id": "a"}]), r"line 2: docs\.0\.text"),
        (a_line(qid="q2", docs=[{"id": "a", "text": "a"}] * 2), "line 2: two documents"),
        (a_line(), "line 2: query q1 came before"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SetRefused, match=said):
        list(ranking_sets.read(written(tmp_path, a_line(), line)))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SetRefused, match="No such file"):
        list(ranking_sets.read(tmp_path / "nothing"))
    with pytest.raises(SetRefused, match="not UTF-8"):
        list(ranking_sets.read(binary))
    with pytest.raises(SetRefused, match="gzipped file"):
        list(ranking_sets.read(binary.rename(tmp_path / "binary.gz")))


def test_judgements_are_read_as_trec_writes_them(tmp_path: Path) -> None:
    path = written(tmp_path, "q1 0 d1 2", "q1\t0\td2\t0", "", "q2 Q0 d9 1", name="qrels")

    assert ranking_sets.read_qrels(path) == {"q1": {"d1": 2, "d2": 0}, "q2": {"d9": 1}}


@pytest.mark.parametrize("line", ["q1 0 d1", "q1 0 d1 high", "q1 0 d1 1 extra"])
def test_other_judgements_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(SetRefused, match="line 2"):
        ranking_sets.read_qrels(written(tmp_path, "q1 0 d1 1", line))


def test_no_judgements_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SetRefused, match="no judgements"):
        ranking_sets.read_qrels(written(tmp_path, ""))


def test_the_measures_are_those_of_the_field() -> None:
    # One relevant document at rank 2 of 3, one that was not found.
    qrels = {"q1": {"b": 1, "z": 1}}
    ndcg, mrr, recall_1, recall_3 = wanted = ranking_sets.measures([1, 3])

    found = ranking_sets.measured(wanted, qrels, [("q1", ["a", "b", "c"]), ("q2", ["b"])])

    ideal = 1 / math.log2(2) + 1 / math.log2(3)
    assert found[ndcg] == pytest.approx({"q1": (1 / math.log2(3)) / ideal})
    assert found[mrr] == {"q1": 1 / 2}
    assert found[recall_1] == {"q1": 0.0}
    assert found[recall_3] == {"q1": 1 / 2}


def test_a_mean_has_students_interval() -> None:
    # 0, 1, 2: mean 1, standard error 1 / sqrt 3, t(.975, 2) = 4.302653.
    mean = Mean.of(np.array([0.0, 1.0, 2.0]))

    assert mean.value == 1.0
    assert mean.high - mean.value == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert mean.value - mean.low == pytest.approx(mean.high - mean.value)


def test_one_query_says_nothing_of_others() -> None:
    assert Mean.of(np.array([1.0])) == Mean(value=1.0, low=-math.inf, high=math.inf)
