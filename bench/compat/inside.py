"""Runs cases beside the packages of one environment: `python -m bench.compat.inside TARGET RESULTS MODULE...`.

A module of `clients` has clients in `CLIENTS`, which go through every case of `cases`, or functions of its own named
`case_...` that take the target, or both. `NAME` and `VERSION` say what such functions are about.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from bench.compat.cases import CASES
from bench.compat.client import Target

PREFIX: Final = "case_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case, as it goes into the results."""

    client: str
    version: str
    case: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to try; it passed when it did not raise."""

    client: str
    version: str
    name: str
    run: Callable[[Target], None]

    def result(self, target: Target) -> Result:
        try:
            self.run(target)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the result
            error.add_note(f"This was {self.client} {self.version}: {self.name}")
            traceback.print_exception(error)
            passed = False
        else:
            passed = True
        return Result(client=self.client, version=self.version, case=self.name, passed=passed)


def cases_of(module: ModuleType) -> Iterator[Case]:
    """In the order of the file."""
    for client in getattr(module, "CLIENTS", ()):
        for name, run in CASES.items():
            case = partial(run, client)
            yield Case(client=client.name, version=client.version, name=name, run=case)
    for name, function in vars(module).items():
        if name.startswith(PREFIX):
            said = name.removeprefix(PREFIX).replace("_", " ")
            yield Case(client=module.NAME, version=module.VERSION, name=said, run=function)


def main(target_file: str, results_file: str, *modules: str) -> None:
    # The clients log what the cases provoke on purpose.
    logging.disable(logging.CRITICAL)
    target = _target(json.loads(Path(target_file).read_text(encoding="utf-8")))
    results = [
        asdict(case.result(target))
        for name in modules
        for case in _some(cases_of(import_module(f"bench.compat.clients.{name}")), name)
    ]
    Path(results_file).write_text(json.dumps(results), encoding="utf-8")


def _some(cases: Iterator[Case], module: str) -> Sequence[Case]:
    """A module in which nothing is found has been misspelt, not passed."""
    found = list(cases)
    if not found:
        raise LookupError(f"{module} has no case")
    return found


def _target(values: dict[str, Any]) -> Target:
    rankings = {
        name: [(index, score) for index, score in values[name]] for name in ("ranking", "logits")
    }
    return Target(**(values | rankings))


if __name__ == "__main__":
    main(*sys.argv[1:])
