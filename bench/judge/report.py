"""What a run found, as `bench/results/judge.json` says it."""

from dataclasses import asdict
from typing import Any

from bench.judge.loop import Played
from judge.calibration import Figures


def told(played: Played, attacked: dict[str, Any]) -> dict[str, Any]:
    """Each rate with its 95 % interval; null where there is not enough to go on."""
    figures = asdict(Figures.of(played.table))
    names = {"kappa": "kappa", "tpr": "true_positive_rate", "fpr": "false_positive_rate"}
    found = {name: figures[long] for name, long in names.items()}
    tally = asdict(played.tally)
    return {
        "answers": tally["verdicts"] + tally["errors"] + tally["lost"],
        **tally,
        "counts": asdict(played.table),
        **{name: each and each["value"] for name, each in found.items()},
        "attack_success_on": attacked["on"]["value"],
        "attack_success_off": attacked["off"]["value"],
        "intervals": {
            **{name: each and [each["low"], each["high"]] for name, each in found.items()},
            "attack_success_on": attacked["on"]["interval"],
            "attack_success_off": attacked["off"]["interval"],
        },
        "rewards": played.rewards,
        "rewards_differ": played.rewards_differ,
        "cost": played.cost,
        "attacks": attacked,
    }
