"""What `rankloop demo` can be told, and the settings in which its loop differs from the defaults."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from examples.demo.reader import MODEL

RESULTS: Final = Path(__file__).resolve().parent.parent.parent / "bench" / "results"
OWN_RESULTS: Final = Path(".rankloop") / "demo"
"""A run to look at does not overwrite the published one."""
DECISIONS: Final = 3500
DATA_DECISIONS: Final = 1800
"""Of a folder, whose passages may be several times longer than the handbook's."""
REWARD_WAIT: Final = "RANKLOOP_TRAINER_REWARD_WAIT_S"

SETTINGS: Final[Mapping[str, str]] = {
    "RANKLOOP_SERVICE_EPSILON": "0.9",
    "RANKLOOP_SERVICE_THREADS": "2",
    "RANKLOOP_TRAINER_CAPACITIES": '["last_layer"]',
    "RANKLOOP_TRAINER_PRECISIONS": '["float32"]',
    "RANKLOOP_TRAINER_KL": "[0.02, 0.1]",
    "RANKLOOP_TRAINER_LAST_LAYER_EPOCHS": "2",
    "RANKLOOP_TRAINER_THREADS": "2",
    "OMP_WAIT_POLICY": "passive",
    "RANKLOOP_TRAINER_POLL_S": "1",
    REWARD_WAIT: "12",
    "RANKLOOP_TRAINER_GATE_SHARE": "0.57",
    "RANKLOOP_TRAINER_ROUND_MIN_REWARDS": "700",
    "RANKLOOP_TRAINER_ROUND_GROWTH": "1.1",
}
"""A start explores more than a site that has learned, and nobody wants to wait here for a quarter of an hour."""

JUDGED: Final[Mapping[str, str]] = {
    "RANKLOOP_JUDGE_SAMPLING": '{"floor": 0.6}',
    "RANKLOOP_JUDGE_POLL_S": "0.2",
}
"""Where a judge says how good answers are: of as many as users would speak of otherwise."""


def settings(environ: Mapping[str, str], *, judged: bool = False) -> dict[str, str]:
    """The demo's settings; what the environment says of them counts."""
    own = {**SETTINGS, **(JUDGED if judged else {})}
    return {name: environ.get(name, value) for name, value in own.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line, read."""

    seeds: tuple[int, ...]
    headless: bool
    decisions: int
    rate_per_s: float
    data: Path | None
    held_out: int
    judge: bool
    reader: str | None
    reader_model: str
    base: str
    port: int
    home: Path | None
    results: Path

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        parser = _parser()
        options: dict[str, Any] = vars(parser.parse_args(arguments))
        if options["judge"] and options["data"] is not None:
            parser.error("--judge: the scripted judge knows the handbook's answers alone")
        usual: dict[str, Any] = {
            "decisions": DECISIONS if options["data"] is None else DATA_DECISIONS,
            "results": RESULTS if options["headless"] else OWN_RESULTS,
        }
        return cls(**usual | options | {"seeds": tuple(options["seeds"])})

    @property
    def name(self) -> str:
        """Of the files with the results."""
        if self.judge:
            return "demo-judge"
        return "demo" if self.data is None else f"demo-{self.data.resolve().name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rankloop demo",
        description="Watch a reranker learn on this machine from the quality of answers.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", dest="seeds", type=int, nargs="+", default=(1,), help="one whole run for each")
    add("--headless", action="store_true", help="end when all is measured")
    add(
        "--decisions",
        type=_positive,
        default=argparse.SUPPRESS,
        help=f"requests of one run (default: {DECISIONS}; with --data {DATA_DECISIONS})",
    )
    add("--rate", dest="rate_per_s", type=float, default=10.0, help="requests a second, at most")
    add("--data", type=Path, help="a folder with a question set to play instead of the handbook")
    add("--held-out", type=_positive, default=300, help="questions of that folder that judge")
    add(
        "--judge",
        action="store_true",
        help="the LLM-judge sidecar says how good answers are, asking a scripted LLM, not users",
    )
    add("--reader", help="base URL of an OpenAI-compatible API to ask instead of the simulation")
    add("--reader-model", default=MODEL, help="the model's name there")
    add("--base", default="minilm", help="the starting model")
    add("--port", type=int, default=8000, help="of the service; another one if it is taken")
    add("--home", type=Path, help="a folder that keeps all state; without, a fresh one")
    add(
        "--results",
        type=Path,
        default=argparse.SUPPRESS,
        help=f"where the report and the picture go (default: {OWN_RESULTS}; with --headless bench/results)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
