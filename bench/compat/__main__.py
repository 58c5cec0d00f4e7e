"""`python -m bench.compat`: makes the environments, starts the services, runs every case, writes the results.

Exits with 1 when a case failed or none ran. `--only NAME...` runs some of the environments, and writes nothing.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.compat import stack
from bench.compat.client import Target
from bench.compat.environments import ENVIRONMENTS, SILENT, Environment

logger = logging.getLogger("bench.compat")

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench" / "results" / "compat.json"


def main(only: Sequence[str]) -> int:
    environments = [each for each in ENVIRONMENTS if not only or each.name in only]
    if not only:  # a run that breaks off leaves no results of an earlier one
        RESULTS.unlink(missing_ok=True)
    pythons = {each.name: each.python() for each in environments}
    with stack.running() as target:
        results = [
            result
            for each in environments
            for result in _results(each, target, python=pythons[each.name])
        ]
    for result in results:
        logger.info("%s", _said(result))
    failed = [result for result in results if not result["passed"]]
    logger.info("%d passed, %d failed", len(results) - len(failed), len(failed))
    if not only:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if failed or not results else 0


def _results(environment: Environment, target: Target, *, python: str) -> list[dict[str, Any]]:
    """A child that ends before it has written them fails all of this."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "target.json", Path(folder) / "results.json"
        asked.write_text(json.dumps(asdict(target)), encoding="utf-8")
        subprocess.run(
            [python, "-m", "bench.compat.inside", asked, answered, *environment.modules],
            cwd=ROOT,
            env=os.environ | SILENT,
            check=True,
        )
        results: list[dict[str, Any]] = json.loads(answered.read_text(encoding="utf-8"))
        return results


def _said(result: dict[str, Any]) -> str:
    outcome = "passed" if result["passed"] else "FAILED"
    return f"{outcome}  {result['client']} ({result['version']}): {result['case']}"


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", choices=[each.name for each in ENVIRONMENTS], default=()
    )
    sys.exit(main(parser.parse_args().only))
