"""`rankloop evaluate` and `rankloop score` over a real version: the file that a service would load."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from contract.artifact import MANIFEST, Manifest
from contract.records import Candidate
from contract.store import Store
from tests import models
from trainer.ranking_commands import app
from trainer.scoring import Served

TREE = Path(__file__).parents[2]
DOCUMENTS = ["one two", "red sun", "it was the old cat"]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    models.make(tmp_path / "version")
    return tmp_path / "version"


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    docs = [{"id": f"d{place}", "text": text} for place, text in enumerate(DOCUMENTS)]
    queries = ["who wrote it", "red sun", "nobody judged this"]
    path = tmp_path / "candidates.jsonl"
    path.write_text(
        "".join(
            json.dumps({"qid": f"q{number}", "query": query, "docs": docs}) + "\n"
            for number, query in enumerate(queries)
        )
    )
    return path


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "qrels"
    path.write_text("q0 0 d2 1\nq1 0 d1 1\nelsewhere 0 d9 1\n")
    return path


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env=environment)


def ranks(version: Path) -> dict[str, dict[str, int]]:
    """By query and document, as the served file ranks them."""
    manifest = Manifest.of_json((version / MANIFEST).read_bytes())
    served = Served.load(version, manifest, precision="float32", threads=1)
    found = {}
    for qid, query in (("q0", "who wrote it"), ("q1", "red sun")):
        logits = served.logits(query, [Candidate(text=text) for text in DOCUMENTS])
        order = sorted(range(len(DOCUMENTS)), key=lambda place: -logits[place])
        found[qid] = {f"d{place}": rank for rank, place in enumerate(order, 1)}
    return found


def test_a_version_is_measured_beside_the_first_stage(
    version: Path, candidates: Path, qrels: Path
) -> None:
    ran = run(
        *("evaluate", "--candidates", candidates, "--qrels", qrels, "--model", version),
        *("--k", "1", "--json"),
    )
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)

    rank = ranks(version)
    reciprocal = [1 / rank["q0"]["d2"], 1 / rank["q1"]["d1"], 0.0]
    assert said["measures"]["RR@10"]["model"] == pytest.approx(sum(reciprocal) / 3)
    # The judged documents stand third and second in the order that they came in; one query has no candidates.
    assert said["measures"]["RR@10"]["first_stage"] == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert (said["queries"], said["without_candidates"]) == (3, 1)
    assert set(said["measures"]) == {"nDCG@10", "RR@10", "R@1"}


def test_the_table_says_the_same(version: Path, candidates: Path, qrels: Path) -> None:
    ran = run("evaluate", "--candidates", candidates, "--qrels", qrels, "--model", version)

    assert ran.exit_code == 0, ran.output
    assert "nDCG@10" in ran.stdout
    assert "3 judged queries, 1 of them without candidates" in ran.stdout


def test_scores_are_written_as_a_trec_run(version: Path, candidates: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    ran = run("score", "--candidates", candidates, "--model", version, "--out", out)

    assert ran.exit_code == 0, ran.output
    lines = [line.split() for line in out.read_text().splitlines()]
    assert len(lines) == 3 * len(DOCUMENTS)
    written = {(qid, document): int(rank) for qid, _, document, rank, _, _ in lines}
    for qid, by_document in ranks(version).items():
        assert {document: written[qid, document] for document in by_document} == by_document
    scores = [float(line[4]) for line in lines if line[0] == "q0"]
    assert scores == sorted(scores, reverse=True)


def test_a_run_that_fails_leaves_no_file(version: Path, candidates: Path, tmp_path: Path) -> None:
    with candidates.open("a") as file:
        file.write("{}\n")
    out = tmp_path / "run"

    ran = run("score", "--candidates", candidates, "--model", version, "--out", out)

    assert ran.exit_code == 1
    assert "line 4" in ran.stderr
    assert not [*tmp_path.glob("*run*")]


def test_a_version_can_be_named(
    version: Path, candidates: Path, qrels: Path, tmp_path: Path
) -> None:
    name = Store(str(tmp_path / "artifacts")).put(version)
    where: dict[str, Any] = {
        "RANKLOOP_ARTIFACTS_URL": str(tmp_path / "artifacts"),
        "RANKLOOP_CACHE_DIR": str(tmp_path / "cache"),
    }
    arguments = ("evaluate", "--candidates", candidates, "--qrels", qrels, "--json", "--model")

    ran, unknown = (run(*arguments, model, **where) for model in (name, "0" * 64))

    assert json.loads(ran.stdout)["version"] == name
    assert unknown.exit_code == 1


def test_what_is_no_model_is_said_so(candidates: Path, qrels: Path) -> None:
    ran = run("evaluate", "--candidates", candidates, "--qrels", qrels, "--model", "nothing")

    assert ran.exit_code == 1
    assert "RANKLOOP_ARTIFACTS_URL" in ran.stderr


def test_a_damaged_version_is_refused(version: Path, candidates: Path, qrels: Path) -> None:
    manifest = Manifest.of_json((version / MANIFEST).read_bytes())
    with (version / manifest.variants["float32"].file).open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\x01\x02\x03")

    ran = run("evaluate", "--candidates", candidates, "--qrels", qrels, "--model", version)

    assert ran.exit_code == 1
    assert "does not match its hash" in ran.stderr


def test_judgements_of_other_queries_are_refused(
    version: Path, candidates: Path, tmp_path: Path
) -> None:
    qrels = tmp_path / "others"
    qrels.write_text("elsewhere 0 d1 1\n")

    ran = run("evaluate", "--candidates", candidates, "--qrels", qrels, "--model", version)

    assert ran.exit_code == 1
    assert "none of its queries is judged" in ran.stderr


def test_rankloop_hands_over_to_it(version: Path, candidates: Path, qrels: Path) -> None:
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "rankloop", "evaluate", "--json"),
            *("--candidates", candidates, "--qrels", qrels, "--model", version),
        ],
        cwd=TREE,
        env=os.environ | {"PYTHONPATH": str(TREE)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["queries"] == 3
