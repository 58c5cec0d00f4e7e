import json

import pytest

from bench import reader_table
from tests.scripted_llm import Reply, scripted_llm
from trainer import prompts
from trainer.replay import Unanswered

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


def test_what_the_table_has_is_not_asked_again_without_the_answers(folder, tmp_path, monkeypatch):
    table = tmp_path / "table.gz"
    with scripted_llm(think=lambda _: " Rhine") as llm:
        for cache in ("one machine", "another"):
            arguments = ["--data", folder, "--cache", tmp_path / cache, "--out", table]
            monkeypatch.setattr("sys.argv", ["", *map(str, arguments), "--url", llm.url])
            reader_table.main()

    assert len(llm.requests) == 3 * 3
    assert [row.f1 for row in reader_table.read(table)[1] if row.question_id == "q Cologne"] == [
        [1.0, 1.0, 1.0]
    ]


def test_a_run_that_was_stopped_leaves_a_table_of_what_it_has(folder, tmp_path, monkeypatch):
    arguments = ["--data", folder, "--cache", tmp_path / "cache", "--out", tmp_path / "table.gz"]
    rhine = Reply(text=" Rhine")
    with scripted_llm(rhine, rhine, Reply(status=401)) as llm:
        monkeypatch.setattr("sys.argv", ["", *map(str, arguments), "--url", llm.url])
        with pytest.raises(Unanswered):
            reader_table.main()

    rows = reader_table.read(tmp_path / "table.gz")[1]
    assert sum(f1 is not None for row in rows for f1 in row.f1) == 2
    assert not all(row.is_complete for row in rows)
