"""schemathesis over the whole OpenAPI document, with every check that it has."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.fuzz.tally import SAVED_AT, Tally
from bench.fuzz.target import TREE, Target

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
COVERAGE: Final = 22_000
"""Requests of its coverage phase, which come whole or not at all."""
OPERATIONS: Final = 31
PHASES: Final = "examples,fuzzing,stateful"


def attack(target: Target, folder: Path, *, requests: int, seed: int) -> Tally:
    """About so many requests; what it has to say goes to our standard output."""
    covers = requests > COVERAGE
    left = requests - COVERAGE if covers else requests
    counts, report = folder / "counts.json", folder / "report.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG),
            *("run", f"{target.url}/openapi.json", "--no-color"),
            *("--header", f"Authorization: Bearer {target.key}"),
            *("--phases", f"{PHASES},coverage" if covers else PHASES),
            *("--max-examples", str(max(1, left // OPERATIONS // 2))),
            *("--seed", str(seed)),
            *("--report", "json", "--report-json-path", report),
        ],
        env=os.environ | {"PYTHONPATH": str(TREE), SAVED_AT: str(counts)},
        cwd=folder,
        check=False,
    )
    tally = Tally.load(counts)
    for finding in _findings(report):
        tally.find(finding)
    return tally


def _findings(report: Path) -> list[str]:
    said = json.loads(report.read_text(encoding="utf-8"))
    failures = [
        f"{each['code']} {each['title']}: {', '.join(each['operations'])}"
        for each in said["failures"]
    ]
    errors = [f"schemathesis: {each['title']} ({each['count']})" for each in said["errors"]]
    unfinished = [] if said["complete"] else ["schemathesis did not finish"]
    return failures + errors + unfinished
