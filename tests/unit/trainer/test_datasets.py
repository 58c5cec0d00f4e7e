import gzip
import json
from pathlib import Path

import pytest

from trainer import datasets
from trainer.datasets import DatasetRefused


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    passages = [
        {"id": "a", "title": "Rivers", "split": "train", "text": "The Nile is long."},
        {"id": "b", "title": "Rivers", "split": "validation", "text": "The Amazon is wide."},
        {"id": "c", "title": "Hills", "split": "test", "text": "The Nile has no hills."},
    ]
    asked = {"id": "q", "question": "How long is the Nile?", "answers": ["long"], "title": "Rivers"}
    write(tmp_path / "passages.jsonl", passages)
    write(tmp_path / "questions.train.jsonl", [asked | {"passage_id": "a"}])
    write(tmp_path / "questions.test.jsonl", [asked | {"passage_id": "c"}])
    return tmp_path


@pytest.fixture
def fairytales(tmp_path: Path) -> Path:
    passages = [
        {"id": f"{story}#{section}", "title": story, "split": "test", "text": text}
        for story, section, text in [
            ("fox", 1, "A fox saw grapes."),
            ("fox", 2, "The grapes hung high."),
            ("hen", 1, "A hen saw grapes, and grapes saw a hen."),
        ]
    ]
    question = {
        "id": "fox:1",
        "question": "How high were the grapes?",
        "answers": ["high"],
        "passage_ids": ["fox#2"],
        "story": "fox",
        "explicit": True,
    }
    with gzip.open(tmp_path / "passages.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in passages)
    write(tmp_path / "questions.test.jsonl", [question])
    return tmp_path


def test_a_passage_is_its_title_and_its_text(squad: Path):
    assert datasets.load(squad).passages["a"].text == "Rivers\nThe Nile is long."


def test_train_questions_find_validation_passages_but_never_those_of_test(squad: Path):
    dataset = datasets.load(squad)

    found = dataset.candidates(dataset.questions["train"][0])

    assert [candidate.passage.id for candidate in found] == ["a", "b"]


def test_test_questions_find_test_passages_alone(squad: Path):
    dataset = datasets.load(squad)

    found = dataset.candidates(dataset.questions["test"][0])

    assert [candidate.passage.id for candidate in found] == ["c"]


def test_a_question_about_a_story_is_searched_within_that_story(fairytales: Path):
    dataset = datasets.load(fairytales)
    question = dataset.questions["test"][0]

    found = dataset.candidates(question, n=5)

    assert [candidate.passage.id for candidate in found] == ["fox#2", "fox#1"]
    assert question.gold == {"fox#2"}


def test_no_more_candidates_come_than_were_asked_for(fairytales: Path):
    dataset = datasets.load(fairytales)

    found = dataset.candidates(dataset.questions["test"][0], n=1)

    assert len(found) == 1
    assert found[0].score > 0


def test_a_split_without_a_file_has_no_questions(squad: Path):
    assert datasets.load(squad).questions["validation"] == ()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(DatasetRefused, match="no folder"):
        datasets.load(tmp_path / "nowhere")


def test_a_folder_without_passages_is_refused(tmp_path: Path):
    with pytest.raises(DatasetRefused, match="no passages"):
        datasets.load(tmp_path)


def test_an_unknown_split_is_refused(tmp_path: Path):
    write(tmp_path / "passages.jsonl", [{"id": "a", "title": "", "split": "dev", "text": ""}])

    with pytest.raises(DatasetRefused, match="'dev'"):
        datasets.load(tmp_path)


def test_answers_that_are_no_list_are_refused(squad: Path):
    row = {"id": "q", "question": "?", "answers": "long", "title": "", "passage_id": "a"}
    write(squad / "questions.validation.jsonl", [row])

    with pytest.raises(DatasetRefused, match="list of texts"):
        datasets.load(squad)
