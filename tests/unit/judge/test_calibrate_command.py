"""`rankloop judge calibrate` with an LLM that says what it is told to say."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from judge.calibrate_command import app
from judge.rubric import RUBRICS
from tests.scripted_llm import Reply, scripted_llm

SHIPPED = RUBRICS / "answer_quality.yaml"


def run(*arguments: object, llm: str = "http://127.0.0.1:9/v1", **environment: str):
    named = {
        "RANKLOOP_JUDGE_LLM_URL": llm,
        "RANKLOOP_JUDGE_LLM_MODEL": "a-judge",
        "RANKLOOP_JUDGE_LLM_ATTEMPTS": "1",
        "RANKLOOP_JUDGE_LLM_CALLS_PER_MINUTE": "60000",
    }
    return CliRunner().invoke(
        app, ["calibrate", *map(str, arguments)], env={**named, **environment}
    )


def verdict_of_the_answer(prompt: str) -> str:
    """The answers of these tests are the scores that the LLM gives them, or what it says instead."""
    said = prompt.split("=== begin answer ")[1].splitlines()[1]
    return json.dumps({"score": float(said)}) if said.replace(".", "").isdecimal() else said


def written(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def answer(says: object, **more: object) -> dict[str, object]:
    return {"query": "Q?", "documents": ["D"], "answer": str(says), **more}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return written(
        tmp_path / "gold.jsonl",
        *(answer(0.9, gold=True) for _ in range(8)),
        *(answer(0.1, gold=1) for _ in range(2)),
        *(answer(0, gold=0) for _ in range(9)),
        answer(0.5, gold=0.2, id="a mistake"),
        answer("I would rather not.", gold=1, id="refused"),
    )


def test_a_report_says_what_was_measured_and_how_far_the_judge_agrees(gold, tmp_path):
    out = tmp_path / "report.json"

    with scripted_llm(think=verdict_of_the_answer) as llm:
        ran = run("--gold", gold, "--out", out, llm=llm.url)

    (report,) = json.loads(out.read_text())
    assert ran.exit_code == 0, ran.output
    assert report["rubric"] == {
        "id": "answer_quality",
        "version": "2",
        "sha256": hashlib.sha256(SHIPPED.read_bytes()).hexdigest(),
    }
    assert (report["provider"], report["model"], report["threshold"]) == (
        "127.0.0.1",
        "a-judge",
        0.5,
    )
    assert report["gold_sha256"] == hashlib.sha256(gold.read_bytes()).hexdigest()
    assert report["agreement"]["value"] == (8 + 9) / 20
    # The gold says good in 10 of 20, the judge in 9: by chance both say the same in a half.
    assert report["kappa"]["value"] == pytest.approx((17 / 20 - 1 / 2) / (1 - 1 / 2))
    assert report["true_positive_rate"]["value"] == 8 / 10
    assert report["true_negative_rate"]["value"] == 9 / 10
    assert report["false_positive_rate"]["value"] == 1 / 10


def test_a_row_without_a_verdict_is_an_error_and_not_a_zero(gold, tmp_path):
    out = tmp_path / "report.json"

    with scripted_llm(think=verdict_of_the_answer) as llm:
        run("--gold", gold, "--out", out, llm=llm.url)

    (report,) = json.loads(out.read_text())
    assert (report["n"], report["errors"], sum(report["counts"].values())) == (20, 1, 20)
    assert report["rows"][-2:] == [
        {"id": "a mistake", "gold": 0.2, "score": 0.5},
        {"id": "refused", "gold": 1.0, "score": None},
    ]


def test_the_share_of_answers_without_gold_is_corrected(gold, tmp_path):
    out = tmp_path / "report.json"
    answers = written(
        tmp_path / "answers.jsonl",
        *(answer(1) for _ in range(38)),
        *(answer(0) for _ in range(62)),
        answer("no"),
    )

    with scripted_llm(think=verdict_of_the_answer) as llm:
        ran = run("--gold", gold, "--answers", answers, "--out", out, llm=llm.url)

    prevalence = json.loads(out.read_text())[0]["prevalence"]
    assert (prevalence["of"], prevalence["n"], prevalence["errors"]) == ("answers", 100, 1)
    assert prevalence["raw"]["value"] == 0.38
    assert prevalence["corrected"]["value"] == pytest.approx((0.38 + 0.9 - 1) / (0.8 + 0.9 - 1))
    assert "good of the answers, corrected" in ran.stdout
    low, high = prevalence["corrected"]["low"], prevalence["corrected"]["high"]
    assert f"0.40 ({low:.2f} to {high:.2f})" in ran.stdout


def test_every_rubric_has_its_report(gold, tmp_path):
    strict = tmp_path / "strict.yaml"
    strict.write_text('id: strict\nversion: "2"\nname: quality\ninstructions: Be hard.\n')
    out = tmp_path / "report.json"

    with scripted_llm(think=verdict_of_the_answer) as llm:
        ran = run(
            *("--gold", gold, "--rubric", SHIPPED, "--rubric", strict, "--out", out), llm=llm.url
        )

    assert [report["rubric"]["id"] for report in json.loads(out.read_text())] == [
        "answer_quality",
        "strict",
    ]
    assert "answer_quality@2" in ran.stdout
    assert "strict@2" in ran.stdout
    asked = {request["messages"][0]["content"].partition("\n")[0] for request in llm.requests}
    assert len(asked) == 2
    assert "Be hard." in asked


def test_the_threshold_holds_for_scores_and_for_gold(tmp_path):
    gold = written(tmp_path / "gold.jsonl", answer(0.6, gold=0.6), answer(0.8, gold=0.9))
    out = tmp_path / "report.json"

    with scripted_llm(think=verdict_of_the_answer) as llm:
        run("--gold", gold, "--threshold", 0.7, "--out", out, llm=llm.url)

    (report,) = json.loads(out.read_text())
    assert (report["counts"]["true_positives"], report["counts"]["true_negatives"]) == (1, 1)


def test_no_verdict_at_all_is_told_and_fails(gold):
    with scripted_llm(Reply(status=401)) as llm:
        ran = run("--gold", gold, llm=llm.url)

    assert ran.exit_code == 1
    assert "without a verdict" in ran.stdout


def test_what_is_unknown_is_a_dash(tmp_path):
    gold = written(tmp_path / "gold.jsonl", answer(1, gold=1))

    with scripted_llm(think=verdict_of_the_answer) as llm:
        ran = run("--gold", gold, llm=llm.url)

    negative = next(line for line in ran.stdout.splitlines() if "true negative rate" in line)
    assert negative.split("│")[2].strip() == "-"


def test_without_an_llm_there_is_nothing_to_measure(gold):
    ran = run("--gold", gold, llm="")

    assert ran.exit_code == 2
    assert ran.stderr == "RANKLOOP_JUDGE_LLM_URL is not set: there is no LLM to ask\n"


def test_a_setting_that_is_wrong_is_a_message(gold):
    ran = run("--gold", gold, RANKLOOP_JUDGE_CONCURRENCY="0")

    assert ran.exit_code == 2
    assert ran.stderr.startswith("concurrency: Input should be greater than")


def test_a_gold_line_that_is_wrong_is_refused_by_its_number_before_anything_is_asked(tmp_path):
    gold = written(tmp_path / "gold.jsonl", answer(1, gold=1), answer(1, gold=2))

    ran = run("--gold", gold)

    assert ran.exit_code == 2
    assert ran.stderr == f"{gold}, line 2: gold: Input should be less than or equal to 1\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("no mapping", "is not a mapping"),
        ("[", "is not YAML"),
        ("id: a", "version: Field required"),
        ("{id: a, version: '1', name: n, instructions: i, more: 1}", "more: "),
        ("{id: a, version: '1', name: n, instructions: i, kind: documents}", "judges documents"),
        ("{id: a, version: '1', name: n, instructions: i, kind: pair}", "compares two answers"),
    ],
)
def test_a_file_that_is_no_rubric_is_a_message(gold, tmp_path, text, told):
    rubric = tmp_path / "rubric.yaml"
    if text is not None:
        rubric.write_text(text)

    ran = run("--gold", gold, "--rubric", rubric)

    assert ran.exit_code == 2
    assert ran.stderr.startswith(f"{rubric}: {told}")
    assert ran.stderr.count("\n") == 1


def test_a_report_that_could_not_be_kept_is_refused_before_anything_is_asked(gold, tmp_path):
    with scripted_llm(think=verdict_of_the_answer) as llm:
        ran = run("--gold", gold, "--out", tmp_path / "nowhere" / "report.json", llm=llm.url)

    assert ran.exit_code == 2
    assert "No such file or directory" in ran.stderr
    assert llm.requests == []
