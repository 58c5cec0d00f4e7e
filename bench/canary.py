"""How often is a canary's verdict wrong, and how long does it take? Simulated traffic, looked at again and again.

`python -m bench.canary` writes `bench/results/learning/canary.json`. Units make one to six requests, some are
judged, and a unit's rewards resemble each other; the canary starts with a tenth of the units and goes on to half. The
rule is the trainer's own; beside it stands an ordinary z-test of the same sums at the same looks.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.canary_traffic import Watched, World, watch
from trainer import canary, sequences
from trainer.canary import SHARES, Limits, Seen, Stage, Step, Verdict

logger = logging.getLogger(__name__)

RESULTS: Final = Path(__file__).parent / "results" / "learning" / "canary.json"
Z: Final = 1.96
AT_ONCE: Final = 50
"""Runs simulated together."""
SESSIONS: Final = World()
SINGLE: Final = World(more=0.0, most=1, units=(10_000, 16_000))
"""Every unit makes one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one run ended."""

    step: Step
    granted: bool
    """Whether it was promoted by a margin."""
    rewards: float
    """Observed until then."""
    naive: float
    """What a z-test said first: below 0, above 0, or 0 where it never spoke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is put to the rule."""

    gain: float
    passed_gate: bool = True
    """Whether a margin may be granted."""
    world: World = SESSIONS


def ends(
    rng: np.random.Generator, question: Question, *, runs: int, limits: Limits
) -> Iterator[Ended]:
    """How so many canaries end."""
    stages = [
        watch(rng, question.world, runs=runs, stage=stage, gain=question.gain)
        for stage in range(len(SHARES))
    ]
    for run in range(runs):
        yield _end(stages, run, question, limits)


def _end(stages: list[Watched], run: int, question: Question, limits: Limits) -> Ended:
    past: tuple[Stage, ...] = ()
    rewards, naive = 0.0, 0.0
    for watched in stages:
        verdict, look = _stage(past, watched, run, question, limits)
        rewards += float(watched.rewards[run, look])
        naive = naive or _naive(past, watched, run, look, limits)
        past = (*past, watched.at(run, look))
        if verdict.step is not Step.ADVANCE:
            break
    return Ended(step=verdict.step, granted=verdict.margin > 0, rewards=rewards, naive=naive)


def _stage(
    past: tuple[Stage, ...], watched: Watched, run: int, question: Question, limits: Limits
) -> tuple[Verdict, int]:
    """The first verdict that is not to hold, and the look at which it fell."""
    last = watched.rewards.shape[1] - 1
    low, high = sequences.interval(_gains(past, watched, run), alpha=limits.alpha)
    first, granted = limits.max_loss, limits.margin * question.passed_gate
    enough = -(first if watched.share < SHARES[-1] else granted)
    # At all other looks the rule holds, whatever else it is shown: asking it only costs time.
    for look in np.flatnonzero((high < 0) | (low > enough)).tolist():
        verdict = canary.decide(_seen(past, watched.at(run, look), question), limits)
        if verdict.step is not Step.HOLD:
            return verdict, look
    seen = _seen(past, watched.at(run, last), question, over=True)
    return canary.decide(seen, limits), last


def _seen(past: tuple[Stage, ...], now: Stage, question: Question, *, over: bool = False) -> Seen:
    return Seen(stages=(*past, now), passed_gate=question.passed_gate, over=over)


def _gains(past: tuple[Stage, ...], watched: Watched, run: int) -> sequences.Difference:
    """Of one run at all looks of a stage."""
    now = (watched.reward[0].at(run), watched.reward[1].at(run))
    return sequences.difference(
        [*((stage.canary.reward, stage.champion.reward) for stage in past), now]
    )


def _naive(past: tuple[Stage, ...], watched: Watched, run: int, look: int, limits: Limits) -> float:
    """What a z-test at 5 % said first of the looks up to this one, as often as it was asked: -1, 1 or nothing."""
    gains = _gains(past, watched, run)
    fewest = np.minimum(watched.reward[0].count[run], watched.reward[1].count[run])
    speaks = (fewest >= limits.min_units) & (np.abs(gains.value) > Z * np.sqrt(gains.variance))
    spoke = np.flatnonzero(speaks[: look + 1])
    return float(np.sign(gains.value[spoke[0]])) if len(spoke) else 0.0


QUESTIONS: Final = {
    "no difference": Question(gain=0.0, passed_gate=False),
    "no difference, passed the gate": Question(gain=0.0),
    "worse by .10": Question(gain=-0.10),
    "worse by .10, one request a unit": Question(gain=-0.10, world=SINGLE),
    "worse by .05": Question(gain=-0.05),
    "worse by the margin of .02": Question(gain=-0.02),
    "better by .05": Question(gain=0.05),
}


def summary(question: Question, found: list[Ended]) -> dict[str, Any]:
    """Shares of the runs, and how many rewards it took."""
    return {
        "gain": question.gain,
        "passed_gate": question.passed_gate,
        "requests_of_a_unit": question.world.most,
        "n": len(found),
        "rolled_back": _share([end.step is Step.ROLL_BACK for end in found]),
        "called_better": _share([end.step is Step.PROMOTE and not end.granted for end in found]),
        "granted_the_margin": _share([end.granted for end in found]),
        "kept_the_champion": _share([end.step is Step.KEEP_CHAMPION for end in found]),
        "z_test_called_worse": _share([end.naive < 0 for end in found]),
        "z_test_called_better": _share([end.naive > 0 for end in found]),
        "rewards_until_rolled_back": _quantiles(found, Step.ROLL_BACK),
        "rewards_until_promoted": _quantiles(found, Step.PROMOTE),
    }


def _share(flags: list[bool]) -> float:
    return round(float(np.mean(flags)), 4)


def _quantiles(found: list[Ended], step: Step) -> dict[str, float | None]:
    """Observed rewards of both arms until that step, over all runs: none where too many never came to it."""
    rewards = [end.rewards if end.step is step else np.inf for end in found]
    at = np.quantile(rewards, [0.1, 0.5, 0.9], method="inverted_cdf")
    named = zip(("p10", "median", "p90"), at.tolist(), strict=True)
    return {name: value if isfinite(value) else None for name, value in named}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    limits = Limits()
    rng = np.random.default_rng(arguments.seed)
    figures: dict[str, Any] = {}
    for name, question in QUESTIONS.items():
        found: list[Ended] = []
        while len(found) < arguments.runs:
            runs = min(AT_ONCE, arguments.runs - len(found))
            found += ends(rng, question, runs=runs, limits=limits)
        figures[name] = summary(question, found)
        logger.info("%s: %s", name, figures[name])
    report = {
        "command": f"python -m bench.canary --runs {arguments.runs} --seed {arguments.seed}",
        "world": asdict(SESSIONS),
        "limits": asdict(limits),
        "figures": figures,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
