"""Does the gate's 95 % interval hold the truth 95 times in 100? Asked of pairs of policies whose truth is enumerated.

    python -m bench.learning.coverage --data DIR [--world handbook reader] [--pairs 120] [--threads 2]

Each pair is a champion and a candidate with weights of their own, and a log of the champion's answers to questions
drawn anew, as noisy and as incomplete as in the worlds. What is estimated is the gain of the Plackett-Luce component;
its truth is the mean over all questions of the sum over all used prefixes of probability times reward. Pairs that are
in `bench/results/learning/coverage.json` are not asked again, so that a run that was stopped goes on.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from bench.learning import worlds
from bench.learning.arms import ARMS
from bench.learning.loop import Loop
from bench.learning.studio import Snapshot, Studio
from bench.learning.truth import Truth
from bench.learning.worlds import World
from trainer.estimators import delta_beta_ips, doubts
from trainer.evidence import gather
from trainer.examples import Example

logger = logging.getLogger("bench.learning.coverage")

OUT: Final = Path(__file__).parents[1] / "results" / "learning" / "coverage.json"
QUESTIONS: Final = 500
"""Of one log; each is asked twice, and .6 of the answers are judged."""
LAST_LAYERS: Final = 6
NOISES: Final = (0.0, 0.02, 0.05, 0.1)
"""Standard deviations of what is added to the last layer's weights, as shares of their own."""
FUSION_NOISE: Final = 0.5
EXPECTED_GAIN: Final = 1.0
"""The gate wants more queries for a small gain; the interval must hold before that too."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    torch.set_num_threads(options.threads)
    rows = json.loads(OUT.read_text(encoding="utf-8"))["pairs"] if OUT.exists() else []
    for name in options.world:
        known = {row["pair"] for row in rows if row["world"] == name}
        missing = [number for number in range(options.pairs) if number not in known]
        if missing:
            for row in _rows(worlds.load(name, options.data), missing):
                rows.append(row)
                found = _summed(rows) | {"pairs": rows}
                OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                logger.info("%s, pair %d: %s", name, row["pair"], found["worlds"][name])
    return 0


def _rows(world: World, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    studio = Studio(max_bytes=4 << 30)
    layers = list(_last_layers(studio, world, np.random.default_rng(1)))
    truth = Truth(world)
    for number in numbers:
        rng = np.random.default_rng([number, 1])
        champion, candidate = (_perturbed(layers, rng) for _ in range(2))
        examples = list(_log(world, studio, champion, seed=number))
        yield {"world": world.name, "pair": number} | _judged(
            truth, champion, candidate, examples, seed=number
        )


def _last_layers(studio: Studio, world: World, rng: np.random.Generator) -> Iterator[Snapshot]:
    """Models that differ from the start by so much noise, all questions scored."""
    for number in range(LAST_LAYERS):
        noise = NOISES[number % len(NOISES)]
        state = {
            name: _noisy(tensor, noise, rng)
            for name, tensor in studio.start.state.items()
            if not name.startswith("fusion.")
        }
        made = studio.snapshot(f"layer {number}", state)
        made.orders(world.train)
        yield made


def _noisy(tensor: Tensor, noise: float, rng: np.random.Generator) -> Tensor:
    drawn = torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32))
    return tensor + noise * tensor.std(correction=0) * drawn


def _perturbed(layers: Sequence[Snapshot], rng: np.random.Generator) -> Snapshot:
    """One of the models with fusion weights of its own; what its last layer said is known already."""
    layer = layers[int(rng.integers(len(layers)))]
    scales = rng.lognormal(0.0, FUSION_NOISE, size=3).astype(np.float32)
    state = dict(layer.state)
    state["fusion.first_stage"] = state["fusion.first_stage"] * torch.from_numpy(scales)
    version = f"{layer.version}, fusion {scales.round(2).tolist()}"
    return replace(layer, version=version, state=state)


def _log(world: World, studio: Studio, champion: Snapshot, *, seed: int) -> Iterator[Example]:
    loop = Loop.of(world, ARMS["ours"], studio, seed=seed)
    loop.champion = champion
    rng = np.random.default_rng([seed, 5])
    asked = rng.permutation(len(world.train))[:QUESTIONS].tolist()
    for number, at in enumerate([*asked, *asked]):
        example = loop.answered(world.train[at], number=number, rng=rng)
        if example is not None:
            yield example


def _judged(
    truth: Truth,
    champion: Snapshot,
    candidate: Snapshot,
    examples: Sequence[Example],
    *,
    seed: int,
) -> dict[str, Any]:
    evidence = gather(candidate, champion, examples, rng=np.random.default_rng(seed))
    gain = delta_beta_ips(evidence)
    true = truth.gain(candidate, champion)
    low, high = gain.low(0.025), gain.high(0.025)
    return {
        "champion": champion.version,
        "candidate": candidate.version,
        "n": len(examples),
        "clusters": gain.clusters,
        "truth": round(true, 5),
        "estimate": round(gain.value, 5),
        "low": round(low, 5),
        "high": round(high, 5),
        "covered": bool(low <= true <= high),
        "doubts": [doubt.name.lower() for doubt in doubts(evidence, expected_gain=EXPECTED_GAIN)],
    }


def _summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all pairs and of those that the gate would have believed."""
    believed = [row for row in rows if not row["doubts"]]
    return {
        "command": "python -m bench.learning.coverage --data DIR",
        "interval": "95 %, two-sided, delta-beta-IPS, clustered by query",
        "all": _share(rows),
        "without_doubts": _share(believed),
        "worlds": {
            name: _share([row for row in believed if row["world"] == name])
            for name in sorted({row["world"] for row in rows})
        },
    }


def _share(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    covered = sum(row["covered"] for row in rows)
    if not rows:
        return {"n": 0}
    bounds = binomtest(covered, len(rows)).proportion_ci()
    return {
        "n": len(rows),
        "coverage": round(covered / len(rows), 4),
        "low": round(bounds.low, 4),
        "high": round(bounds.high, 4),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning.coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--world", nargs="+", default=("handbook", "reader"))
    parser.add_argument("--pairs", type=int, default=120, help="of each world")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
