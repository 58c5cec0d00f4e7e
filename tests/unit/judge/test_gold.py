import json
from pathlib import Path

import pytest

from judge.gold import Answer, FileRefused, Gold, read

LINE = {"query": "Q?", "documents": ["D"], "answer": "A", "gold": 1}


def written(folder: Path, *lines: str) -> Path:
    path = folder / "gold.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("said", "gold"), [("1", 1.0), ("0", 0.0), ("true", 1.0), ("false", 0.0), ("0.4", 0.4)]
)
def test_gold_is_a_number_or_a_yes_or_no(tmp_path, said, gold):
    line = json.dumps(LINE | {"gold": json.loads(said)})

    assert [row.gold for row in read(written(tmp_path, line), Gold)] == [gold]


def test_a_row_without_an_id_is_known_by_its_line(tmp_path):
    lines = [json.dumps(LINE | {"id": 7}), "", json.dumps(LINE | {"reference": "R"})]

    rows = read(written(tmp_path, *lines), Gold)

    assert [(row.id, row.reference) for row in rows] == [("7", None), ("3", "R")]


def test_a_line_separator_within_a_text_ends_no_line(tmp_path):
    line = json.dumps(LINE | {"answer": "one\u2028two"}, ensure_ascii=False)

    assert read(written(tmp_path, line), Gold)[0].answer == "one\u2028two"


def test_answers_have_no_gold(tmp_path):
    line = {name: value for name, value in LINE.items() if name != "gold"}

    assert read(written(tmp_path, json.dumps(line)), Answer)[0].answer == "A"
    with pytest.raises(FileRefused, match=r"line 1: gold: Extra inputs"):
        read(written(tmp_path, json.dumps(LINE)), Answer)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('{"query": "Q?"', "Invalid JSON"),
        ("[]", "should be an object"),
        (json.dumps({"query": "Q?"}), "documents: Field required; answer: Field required"),
        (json.dumps(LINE | {"gold": 1.5}), "gold: Input should be less than or equal to 1"),
        (json.dumps(LINE | {"gold": "good"}), "gold: Input should be a valid number"),
        (json.dumps(LINE | {"gold": None}), "gold: Input should be a valid number"),
        (json.dumps(LINE).replace(": 1}", ": NaN}"), "gold: "),
        (json.dumps(LINE | {"documents": "D"}), "documents: Input should be a valid array"),
        (json.dumps(LINE | {"documents": [1]}), "documents.0: Input should be a valid string"),
        (json.dumps(LINE | {"answer": ""}), "answer: String should have at least 1"),
        (json.dumps(LINE | {"refrence": "R"}), "refrence: Extra inputs"),
    ],
)
def test_a_line_that_is_wrong_is_refused_by_its_number(tmp_path, wrong, told):
    path = written(tmp_path, json.dumps(LINE), "", wrong)

    with pytest.raises(FileRefused) as refusal:
        read(path, Gold)

    assert str(refusal.value).startswith(f"{path}, line 3: ")
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("nothing", ["", "\n \n"])
def test_a_file_without_answers_is_refused(tmp_path, nothing):
    with pytest.raises(FileRefused, match="holds no answers"):
        read(written(tmp_path, nothing), Gold)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(FileRefused, match="No such file"):
        read(tmp_path / "nowhere", Gold)
    with pytest.raises(FileRefused, match="not UTF-8"):
        read(binary, Gold)
