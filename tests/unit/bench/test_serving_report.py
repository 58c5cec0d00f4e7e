import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.serving import __main__ as whole
from bench.serving import plots, tables

MADE = {
    "machine": {"cores": 2, "cpu": "a processor", "at": "2026-01-01T00:00+00:00"},
    "commit": "abc",
    "command": "python -m bench.serving.x",
    "seconds": 60,
}
TIMES = {"small_n": 900, "small_p50_ms": 10.0, "small_p90_ms": 20.0, "small_p99_ms": 30.0}
FOUND: dict[str, dict[str, Any]] = {
    "load": {
        "capacity_documents_per_s": 100.0,
        "fairness": {
            "mixed": {**TIMES, "large_p99_ms": 500.0, "statuses": {"200": 990, "429": 10}},
            "alone": {**TIMES, "small_p99_ms": 25.0, "statuses": {"200": 900}},
            "p99_ratio": 1.2,
            "p99_ratio_95": [1.1, 1.3],
        },
        # Nobody was admitted: there is no latency to tell.
        "overload": {"goodput": 0.0, "statuses": {"429": 5}},
    },
    "swaps": {
        "swaps": 50,
        "requests": 4000,
        "failed": 0,
        "mixed_versions": 0,
        "probes": 500,
        "wrong_probes": 0,
        "near_s": 10.0,
        "served_in_s": {"n": 50, "median": 1.5, "max": 2.5},
        "near": TIMES,
        "far": TIMES,
        "p99_ratio": 1.0,
        "p99_ratio_95": [0.9, 1.1],
        "since_swap": [{"since_s": 0.0, **TIMES}, {"since_s": 2.0}],
    },
    "memory": {
        "real": {
            "precision": "int8",
            "requests": 10_000,
            "failed": 0,
            "swaps": 50,
            "rss": {"slope_mib_per_100k": 0.5, "slope_95": [0.1, 0.9], "grown_mib": 0.1},
            "peak_rss_mib": 400.0,
            "samples": [
                {"requests": 200, "rss": 300.0, "anonymous": 200.0},
                {"requests": 400, "rss": 301.0, "anonymous": 201.0},
            ],
        }
    },
    "scaling": {
        "rows": [
            {
                "varies": varies,
                "precision": "int8",
                "documents": 10,
                "tokens": 128,
                "callers": 1,
                "requests": 40,
                "failed": 0,
                "documents_per_s": 100.0,
                "p50_ms": 100.0,
                "p99_ms": 110.0,
                "cost_of_a_million_documents": 0.2,
            }
            for varies in ("documents", "tokens", "callers")
        ],
        "replicas": [],
        "price_per_core_hour": 0.04,
    },
}


@pytest.fixture
def folder(tmp_path):
    for name, found in FOUND.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**MADE, **found}))
    return tmp_path


def test_tables_tell_what_each_part_found(folder):
    tables.write(folder)

    told = (folder / "tables.md").read_text()
    assert [line for line in told.splitlines() if line.startswith("## ")] == [
        f"## {name}" for name in FOUND
    ]
    assert (
        "| beside large ones | 900 | 10.0 | 20.0 | 30.0 | 500.0 | 990 of 200, 10 of 429 |" in told
    )
    assert "| at ten times capacity, those admitted |  |  |  |  |  | 5 of 429 |" in told
    assert "| 50 | 4000 | 0 | 0 | 0 of 500 | 1.5, 2.5 | 1.0 | 0.9 to 1.1 |" in told
    assert "| real | int8 | 10000 | 0 | 50 | 0.5 | 0.1 to 0.9 | 0.1 | 400.0 |" in told
    assert "| tokens | int8 | 10 | 128 | 1 | 40 | 0 | 100.0 | 100.0 | 110.0 | 0.2 |" in told


def test_a_part_without_results_has_no_section(folder):
    for name in ("load", "memory", "scaling"):
        (folder / f"{name}.json").unlink()

    tables.write(folder)

    assert (folder / "tables.md").read_text().count("## ") == 1


def test_every_part_has_its_picture(folder):
    plots.write(folder)

    assert {path.stem for path in folder.glob("*.png")} == set(FOUND)


def test_a_part_is_asked_for_what_the_whole_was_asked_for():
    options = argparse.Namespace(out=Path("out"), precision="int8", data=Path("data"), rounds=3)
    common = ["--out", Path("out"), "--precision", "int8", "--data", Path("data")]

    assert whole.command("load", options) == [sys.executable, "-m", "bench.serving.load", *common]
    assert whole.command("side_by_side", options)[3:] == [*common, "--rounds", "3"]


def test_a_part_that_fails_keeps_no_other_from_running(tmp_path, monkeypatch, caplog):
    ran = []

    def succeeds(command):
        ran.append(command[2])
        return command[2] != "bench.serving.load"

    monkeypatch.setattr(whole, "_succeeds", succeeds)
    monkeypatch.setattr(
        sys, "argv", ["bench.serving", "--only", "swaps", "load", "--out", str(tmp_path / "out")]
    )

    code = whole.main()

    assert (code, ran) == (1, ["bench.serving.load", "bench.serving.swaps"])
    assert "load failed" in caplog.text
    assert (tmp_path / "out" / "tables.md").exists()


def test_what_a_ranking_is_worth_is_not_measured_without_a_real_set():
    asked = {"only": ["load", "quality"]}
    assert whole.parts(argparse.Namespace(data=Path("squad"), **asked)) == ["quality", "load"]
    assert whole.parts(argparse.Namespace(data=None, **asked)) == ["load"]
