"""What can be wrong with a log: the candidate is bad, and its evidence too."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from contract import plackett_luce, policy
from contract.policy import Policy
from contract.records import Decision
from trainer.evidence import Scores
from trainer.examples import Example, propensities_recompute
from trainer.join import MAX_QUARANTINED

Spoil: TypeAlias = Callable[[Sequence[Example], Scores, np.random.Generator], list[Example]]
"""From a sound log, and the candidate that is to profit, to an unsound one."""


def is_quarantined(examples: Sequence[Example]) -> bool:
    """Whether reading stops: more than 1 % of the propensities do not follow from the logits."""
    wrong = sum(not propensities_recompute(each.decision) for each in examples)
    return wrong > MAX_QUARANTINED * len(examples)


def sound(examples: Sequence[Example], _: Scores, __: np.random.Generator) -> list[Example]:
    return list(examples)


def scaled(times: float) -> Spoil:
    """Propensities that are so many times the true ones, 1 at most."""

    def spoil(examples: Sequence[Example], _: Scores, __: np.random.Generator) -> list[Example]:
        return [_with_propensities(each, times) for each in examples]

    return spoil


def _with_propensities(example: Example, times: float) -> Example:
    choice = example.decision.choice
    log_p = (choice.cum_log_propensity + np.log(times)).clip(max=0.0)
    said = replace(choice, cum_log_propensity=log_p)
    return replace(example, decision=replace(example.decision, choice=said))


def hotter(times: float) -> Spoil:
    """A temperature is logged that is so many times the true one, with propensities that follow from it."""

    def spoil(examples: Sequence[Example], _: Scores, __: np.random.Generator) -> list[Example]:
        return [
            _relogged(
                each,
                each.decision.logits,
                replace(each.decision.policy, temperature=each.decision.policy.temperature * times),
            )
            for each in examples
        ]

    return spoil


def of_another(model: Scores) -> Spoil:
    """Logits and propensities of a model that did not serve."""

    def spoil(examples: Sequence[Example], _: Scores, __: np.random.Generator) -> list[Example]:
        return [
            _relogged(
                each,
                model.logits(each.decision.query, each.decision.candidates),
                each.decision.policy,
            )
            for each in examples
        ]

    return spoil


def _relogged(example: Example, logits: plackett_luce.Logits, said: Policy) -> Example:
    """As if these logits had been served under this policy."""
    decision: Decision = example.decision
    choice = replace(
        decision.choice,
        cum_log_propensity=policy.log_propensity(logits, decision.choice.shown, said),
    )
    return replace(example, decision=replace(decision, logits=logits, policy=said, choice=choice))


def poisoned(share: float) -> Spoil:
    """A tenant with so many of the rows praises what the candidate would show first, and nothing else."""

    def spoil(
        examples: Sequence[Example], candidate: Scores, rng: np.random.Generator
    ) -> list[Example]:
        return [_praised(each, candidate) if rng.random() < share else each for each in examples]

    return spoil


def _praised(example: Example, candidate: Scores) -> Example:
    decision = example.decision
    first = int(decision.choice.shown[0])
    wanted = plackett_luce.greedy(candidate.logits(decision.query, decision.candidates))[0]
    return replace(
        example,
        decision=replace(decision, tenant="poisoner"),
        reward=float(first == wanted),
        cited=frozenset([first]),
    )


def only_high(dropped: float) -> Spoil:
    """So many of the low rewards are never reported."""

    def spoil(examples: Sequence[Example], _: Scores, rng: np.random.Generator) -> list[Example]:
        return [each for each in examples if each.reward > 0 or rng.random() >= dropped]

    return spoil


def repeated(times: int) -> Spoil:
    def spoil(examples: Sequence[Example], _: Scores, __: np.random.Generator) -> list[Example]:
        return [each for each in examples for _ in range(times)]

    return spoil


def few(queries: int) -> Spoil:
    """So many queries, with as many rows as there were."""

    def spoil(examples: Sequence[Example], _: Scores, __: np.random.Generator) -> list[Example]:
        kept = set(list(dict.fromkeys(each.query_sha256 for each in examples))[:queries])
        some = [each for each in examples if each.query_sha256 in kept]
        return (some * (len(examples) // len(some) + 1))[: len(examples)]

    return spoil


def kinds(other: Scores) -> Mapping[str, Sequence[tuple[str, Spoil]]]:
    """By kind, each spoiling by name.

    other: a model that did not serve.
    """
    return {
        "propensities scaled": [(f"times {by}", scaled(by)) for by in (0.5, 0.9, 2.0)],
        "wrong temperature logged": [(f"times {by}", hotter(by)) for by in (0.5, 2.0, 4.0)],
        "propensities of another model": [("of the base", of_another(other))] * 3,
        "a poisoned tenant": [(f"{by:.0%} of rows", poisoned(by)) for by in (0.02, 0.05, 0.1)],
        "only high rewards reported": [
            (f"{by:.0%} of zeros lost", only_high(by)) for by in (0.5, 0.8, 1.0)
        ],
        "rows repeated": [(f"{by} times", repeated(by)) for by in (2, 3, 5)],
        "few queries": [(f"{n} queries", few(n)) for n in (20, 60, 99)],
    }


def spoils(other: Scores) -> Iterator[tuple[str, str, Spoil]]:
    for kind, named in kinds(other).items():
        for name, spoil in named:
            yield kind, name, spoil
