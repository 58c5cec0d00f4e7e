import json

import pytest

from bench import reader_table
from tests.scripted_llm import scripted_llm
from trainer import prompts

RIVERS = {"Cologne": "Rhine", "Paris": "Seine", "London": "Thames"}


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "rivers"
    found.mkdir()
    passages = [
        {"id": city, "title": city, "split": "test", "text": f"It lies on the {river}."}
        for city, river in RIVERS.items()
    ]
    questions = [
        {
            "id": f"q {city}",
            "question": f"Which river lies {city} on?",
            "answers": [f"the {river}"],
            "passage_id": city,
            "title": city,
        }
        for city, river in RIVERS.items()
    ]
    for name, rows in (("passages", passages), ("questions.test", questions)):
        (found / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


def test_every_candidate_is_read_alone_once_and_told_by_its_rank(folder, tmp_path, monkeypatch):
    def think(prompt):
        return " " + prompt.splitlines()[-3].rpartition(" ")[2]  # the last word of the passage

    arguments = ["bench.reader_table", "--data", folder, "--cache", tmp_path / "cache"]
    with scripted_llm(think=think) as llm:
        monkeypatch.setattr(
            "sys.argv",
            [*map(str, arguments), "--out", f"{tmp_path / 'table.gz'}", "--url", llm.url],
        )
        reader_table.main()
        reader_table.main()

    assert len(llm.requests) == 3 * 3
    reader, rows = reader_table.read(tmp_path / "table.gz")
    assert reader["max_tokens"] == 20
    assert len(rows) == 3
    for row in rows:
        city = row.question_id.removeprefix("q ")
        assert row.passage_ids[0] == city
        assert row.gold == [True, False, False]
        assert row.f1 == [1.0, 0.0, 0.0]
        text = f"{city}\nIt lies on the {RIVERS[city]}."
        prompt = prompts.build(f"Which river lies {city} on?", [text])
        assert row.prompts[0] == prompts.sha256(prompt)[:32]
