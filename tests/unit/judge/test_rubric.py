import hashlib
from pathlib import Path

import pytest

from judge.rubric import RUBRICS, Kind, Rubric, RubricRefused

SHIPPED = {
    "answer_quality": (Kind.ANSWER, "quality"),
    "correctness": (Kind.ANSWER, "correct"),
    "faithfulness": (Kind.CLAIMS, "faithfulness"),
    "document_utility": (Kind.DOCUMENTS, "utility"),
    "pairwise": (Kind.PAIR, "preference"),
}


def test_all_that_is_shipped_is_known():
    assert {path.stem for path in RUBRICS.iterdir()} == SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_rubric_is_found_by_its_name_and_knows_its_hash(name: str):
    rubric = Rubric.named(name)

    assert (rubric.id, (rubric.kind, rubric.name)) == (name, SHIPPED[name])
    data = (RUBRICS / f"{name}.yaml").read_bytes()
    assert rubric.sha256 == hashlib.sha256(data).hexdigest()


def written(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


OWN = 'id: own\nversion: "1"\nname: tone\ninstructions: Be kind.\n'


def test_any_other_is_found_by_its_path(tmp_path: Path):
    own = Rubric.named(str(written(tmp_path, OWN + "scale: [1, 5]\n")))

    assert (own.id, own.kind, own.scale) == ("own", Kind.ANSWER, (1, 5))


def test_another_wording_is_another_hash(tmp_path: Path):
    one = Rubric.from_file(written(tmp_path, OWN))
    two = Rubric.from_file(written(tmp_path, OWN + "# kinder\n"))

    assert one.sha256 != two.sha256


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a list", "not a mapping"),
        ("id: [", "own.yaml"),
        (OWN + "scale: [1, 1]\n", "scale: the worst score first"),
        (OWN + "kind: guess\n", "kind"),
        (OWN + "nmae: x\n", "nmae"),
        ("id: own\n", "version"),
        (OWN.replace('"1"', "1"), "version"),
    ],
)
def test_what_is_no_rubric_is_refused_with_the_reason(tmp_path: Path, text: str, why: str):
    with pytest.raises(RubricRefused, match=why):
        Rubric.from_file(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused_by_its_name():
    with pytest.raises(RubricRefused, match="nowhere"):
        Rubric.named("nowhere")
