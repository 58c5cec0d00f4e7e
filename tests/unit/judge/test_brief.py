from pathlib import Path

import pytest

from judge.__main__ import main
from judge.brief import Brief
from judge.rubric import Kind, RubricRefused
from judge.settings import JudgeSettings
from judge.template import TemplateRefused


def brief(**fields: object) -> Brief:
    return Brief.of(JudgeSettings.model_validate(fields))


def test_without_a_word_the_shipped_files_are_read():
    told = brief()

    assert (told.rubric.id, told.pair_rubric.id) == ("answer_quality", "pairwise")
    assert told.pair_rubric.kind is Kind.PAIR


def test_a_rubric_that_needs_two_answers_judges_none_by_itself():
    with pytest.raises(RubricRefused, match="RUBRIC: pairwise compares two answers"):
        brief(rubric="pairwise")


@pytest.mark.parametrize("name", ["answer_quality", "faithfulness", "document_utility"])
def test_a_rubric_of_another_kind_compares_nothing(name: str):
    with pytest.raises(RubricRefused, match=f"PAIR_RUBRIC: {name} is of the kind "):
        brief(pair_rubric=name)


def test_a_prompt_is_read_before_anything_begins(tmp_path: Path):
    with pytest.raises(TemplateRefused, match="nowhere"):
        brief(reader_prompt=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("RUBRIC", "pairwise", "compares two answers"),
        ("PAIR_RUBRIC", "correctness", "is of the kind answer"),
        ("READER_PROMPT", "nowhere.txt", "No such file"),
    ],
)
def test_the_process_says_so_and_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    why: str,
):
    monkeypatch.setenv(f"RANKLOOP_JUDGE_{name}", value)

    assert main() == 2

    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1
