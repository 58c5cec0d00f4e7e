import re
from pathlib import Path

import pytest

from judge.settings import JudgeSettings
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
    ["README.md", "CHANGELOG.md", "docs/api.md", "docs/integrations.md", "docs/operations.md"],
)
def test_every_file_that_a_document_links_to_exists(document):
    path = OPERATIONS.parents[1] / document

    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []
