from pathlib import Path

import pytest

from judge.template import SHIPPED, Template, TemplateRefused


def written(folder: Path, text: str) -> Path:
    path = folder / "prompt.txt"
    path.write_text(text)
    return path


def test_documents_are_numbered_in_their_order(tmp_path: Path):
    template = Template.from_file(written(tmp_path, "Q: {question}\n---\n{documents}\n---\n"))

    filled = template.filled(question="How long?", documents=["Two years.", "Ask us."])

    assert filled == "Q: How long?\n---\n[1] Two years.\n\n[2] Ask us.\n---\n"


def test_ours_names_both():
    filled = Template.from_file().filled(question="How long?", documents=["Two years."])

    assert "Question: How long?" in filled
    assert "[1] Two years." in filled
    assert SHIPPED.read_text().count("{") == 2


def test_texts_stand_as_they_are_whatever_braces_they_hold(tmp_path: Path):
    template = Template.from_file(written(tmp_path, "{question}|{documents}|{question}"))

    filled = template.filled(question="{documents} {0} {x!r}", documents=[r"{question} {{}} \1"])

    question, document = "{documents} {0} {x!r}", r"[1] {question} {{}} \1"
    assert filled == f"{question}|{document}|{question}"


def test_other_braces_of_a_prompt_stand_for_themselves(tmp_path: Path):
    text = 'Reply as {"answer": "...", "none": {}}.\n'
    template = Template.from_file(written(tmp_path, text + "{question}{documents}"))

    assert template.filled(question="Q", documents=[]) == text + "Q"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{documents}", r"lacks \{question\}"),
        ("{question}", r"lacks \{documents\}"),
        ("", r"lacks \{documents\} and \{question\}"),
        ("{question} {documents} {context}", r"not \{context\}"),
        ("{question} {documents} {0}", r"not \{0\}"),
        ("{{question}} {documents}", r"not \{\{question\}\}"),
        ("{ question } {documents}", r"not \{ question \}"),
    ],
)
def test_what_is_no_such_prompt_is_refused_with_the_reason(tmp_path: Path, text: str, why: str):
    with pytest.raises(TemplateRefused, match=why):
        Template.from_file(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path):
    with pytest.raises(TemplateRefused, match=r"nowhere\.txt: No such file"):
        Template.from_file(tmp_path / "nowhere.txt")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"\xe9 {question} {documents}")
    with pytest.raises(TemplateRefused, match="is not UTF-8"):
        Template.from_file(latin)


def test_another_wording_is_another_hash(tmp_path: Path):
    one = Template.from_file(written(tmp_path, "{question}{documents}"))
    two = Template.from_file(written(tmp_path, "{question} {documents}"))

    assert one.sha256 != two.sha256
