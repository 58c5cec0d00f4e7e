import inspect
import re
from pathlib import Path

import pytest

from judge.gold import Gold, read
from judge.settings import JudgeSettings
from rankloop.client import calls
from service.settings import ServiceSettings
from trainer.settings import TrainerSettings

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
SETTINGS = {
    f"{settings.model_config['env_prefix']}{name}".upper()
    for settings in (ServiceSettings, TrainerSettings, JudgeSettings)
    for name in settings.model_fields
}


def test_every_setting_is_documented_and_every_documented_setting_exists():
    rows = re.findall(r"^\| `(RANKLOOP_\w+)`", OPERATIONS.read_text(), flags=re.MULTILINE)

    assert sorted(rows) == sorted(SETTINGS)


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CHANGELOG.md",
        "docs/api.md",
        "docs/integrations.md",
        "docs/judging.md",
        "docs/operations.md",
        "docs/performance.md",
    ],
)
def test_every_file_that_a_document_links_to_exists(document):
    path = OPERATIONS.parents[1] / document

    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_nothing_is_installed_from_an_index_that_does_not_have_it():
    root = OPERATIONS.parents[1]
    files = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("rankloop/**/*.py")]

    told = {
        path.name: re.findall(r"pip install ['\"]?rankloop", path.read_text()) for path in files
    }

    assert [name for name, found in told.items() if found] == []


def test_the_documented_parameters_of_a_ranking_are_those_of_the_client():
    text = (OPERATIONS.parent / "integrations.md").read_text()
    documented = re.search(r"`rerank\(query, documents, \*, (.*?)\)`", text)
    assert documented is not None

    _, _, *named = inspect.signature(calls.rerank).parameters

    assert documented[1].split(", ") == named


def test_the_documented_gold_file_is_one(tmp_path):
    block = re.search(
        r"```json\n(.*?)```", (OPERATIONS.parent / "judging.md").read_text(), re.DOTALL
    )
    assert block is not None
    file = tmp_path / "gold.jsonl"
    file.write_text(block[1])

    assert [row.gold for row in read(file, Gold)] == [1.0, 0.0, 0.5]
