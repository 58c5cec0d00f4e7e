import hashlib
from pathlib import Path

from judge.rubric import Rubric
from judge.settings import RUBRICS


def test_the_shipped_rubric_asks_for_a_score_and_knows_its_hash():
    path = RUBRICS / "answer_quality.toml"

    rubric = Rubric.from_file(path)

    assert rubric.reference() == {"id": "answer_quality", "version": "1"}
    assert rubric.name == "quality"
    assert '"score"' in rubric.instructions
    assert rubric.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_wording_is_another_hash(tmp_path: Path):
    text = 'id = "a"\nversion = "1"\nname = "n"\ninstructions = "{}"\n'
    for wording in ("one", "two"):
        (tmp_path / wording).write_text(text.format(wording))

    assert Rubric.from_file(tmp_path / "one").sha256 != Rubric.from_file(tmp_path / "two").sha256
