"""What the log says of a candidate: the probabilities of the prefixes that made the answers, by the files that serve.

Both models are asked for the very candidates that were sampled and under the bound that held, at equal sureness.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from contract import plackett_luce
from contract.plackett_luce import Positions
from contract.policy import choose, log_prob_sampled
from contract.records import Candidate, Decision
from trainer import calibration
from trainer.estimators import BALANCE, Evidence
from trainer.examples import Example
from trainer.scoring import on_a_cpu
from trainer.splits import cluster

Floats: TypeAlias = NDArray[np.float64]

DRAWS: Final = 2_000
"""Prefixes drawn anew, of all decisions together, to know how far weights spread."""

LARGE: Final = 700.0
"""Nats: more would overflow."""


class Scores(Protocol):
    """A version as it is served."""

    @property
    def version(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def temperature(self) -> float: ...

    def logits(self, query: str, candidates: Sequence[Candidate]) -> Floats:
        """(n,) in request order."""


def gather(
    candidate: Scores,
    champion: Scores,
    examples: Sequence[Example],
    *,
    rng: np.random.Generator,
) -> Evidence:
    """The log-probabilities of the prefixes that made the answers, by the files that serve.

    A reader that reads the whole prompt before it cites chooses where a prefix ends by what comes after it. Then the
    weights of cut prefixes are off balance, and whole ones are taken.
    """
    answers = _PlackettLuce(_Memory(champion), champion.temperature)
    asks = _as_sure_as(answers, candidate, examples)
    balance = _balance(examples, asks, answers, rng=rng)
    is_cut = abs(balance.cited) <= BALANCE
    if not is_cut:  # an answer that cites nothing is made of all that was used
        examples = [replace(example, cited=frozenset()) for example in examples]
    return Evidence(
        log_candidate=np.array([asks.log_p(each.prefix, each.decision) for each in examples]),
        log_champion=np.array([answers.log_p(each.prefix, each.decision) for each in examples]),
        log_sampled=np.array([each.log_sampled for each in examples]),
        log_propensity=np.array([each.log_propensity for each in examples]),
        explored=np.array([example.decision.choice.explored for example in examples], dtype=bool),
        reward=np.array([example.reward for example in examples]),
        observed=np.array([example.weight for example in examples]),
        cluster=np.array([cluster(example.query_sha256) for example in examples], dtype=np.int64),
        unsupported=_unsupported(examples, asks, rng=rng),
        balance=balance.used,
        is_cut=is_cut,
        first_step_share=first_step_share(
            [example.decision for example in examples],
            [asks.memory.logits(example.decision) for example in examples],
            temperature=asks.temperature,
        ),
    )


class _Memory:
    """A version's logits; it scores each request once, and not at all where it has served it."""

    def __init__(self, served: Scores) -> None:
        self._served = served
        self._known: dict[tuple[str, tuple[Candidate, ...]], Floats] = {}

    def logits(self, decision: Decision) -> Floats:
        served = self._served
        own = (decision.version, on_a_cpu(decision.precision)) == (served.version, served.precision)
        if own:
            return decision.logits
        request = (decision.query, decision.candidates)
        if request not in self._known:
            self._known[request] = served.logits(decision.query, decision.candidates)
        return self._known[request]


@dataclass(frozen=True, slots=True)
class _PlackettLuce:
    """The exploring half of a version's policy, over the candidates that were sampled and under the bound that held."""

    memory: _Memory
    temperature: float

    def log_p(self, prefix: Positions, decision: Decision) -> float:
        """Nats; -inf for what it never shows."""
        policy = replace(decision.policy, temperature=self.temperature)
        logits = self.memory.logits(decision)
        return float(log_prob_sampled(logits, prefix, policy, ranked_by=decision.logits)[-1])

    def sample(self, decision: Decision, rng: np.random.Generator, *, top_n: int) -> Positions:
        """A ranking drawn from its own best candidates, whatever the log could show."""
        policy = replace(decision.policy, temperature=self.temperature, epsilon=1.0, max_fall=None)
        return choose(self.memory.logits(decision), policy, rng, top_n=top_n).shown


def _as_sure_as(
    answers: _PlackettLuce, candidate: Scores, examples: Sequence[Example]
) -> _PlackettLuce:
    """The candidate at the temperature at which it hesitates as much as the champion, over these very decisions."""
    memory = _Memory(candidate)
    if not examples:
        return _PlackettLuce(memory, candidate.temperature)
    temperature = calibration.matched(
        [memory.logits(example.decision) for example in examples],
        like=[answers.memory.logits(example.decision) for example in examples],
        temperature_of_those=answers.temperature,
    )
    return _PlackettLuce(memory, temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Balance:
    """How many standard errors the mean of Dw is off 0."""

    used: float
    """Over the used prefixes: 0 in expectation, were the logged propensities right."""
    cited: float
    """Over those that end with the last cited document: 0 too, were that a stopping time."""


def _balance(
    examples: Sequence[Example],
    asks: _PlackettLuce,
    answers: _PlackettLuce,
    *,
    rng: np.random.Generator,
) -> _Balance:
    """By the error that the logged propensities imply, from prefixes drawn anew, and not by the spread that is seen.

    Weights have a long tail, and a log that misses it has a mean too low and a spread too small at once. Decisions
    were drawn independently, those about one query too. Stopped earlier, weights spread less: of the cited prefixes the
    error is at most that.
    """
    if not examples:
        return _Balance(used=0.0, cited=0.0)

    def change(decision: Decision, shown: Positions, log_beta: float) -> float:
        gained, lost = asks.log_p(shown, decision), answers.log_p(shown, decision)
        return float(np.exp(gained - log_beta) - np.exp(lost - log_beta))

    def logged(example: Example, *, places: int) -> float:
        choice = example.decision.choice
        return change(
            example.decision, choice.shown[:places], choice.cum_log_propensity[places - 1]
        )

    def drawn(example: Example) -> float:
        decision = example.decision
        choice = choose(decision.logits, decision.policy, rng, top_n=example.used)
        return change(decision, choice.shown, choice.cum_log_propensity[-1])

    times = ceil(DRAWS / len(examples))
    variance = sum(drawn(example) ** 2 for example in examples for _ in range(times)) / times
    if not variance:
        return _Balance(used=0.0, cited=0.0)
    used = sum(logged(example, places=example.used) for example in examples)
    cited = sum(logged(example, places=example.reach) for example in examples)
    return _Balance(used=used / sqrt(variance), cited=cited / sqrt(variance))


def first_step_share(
    decisions: Sequence[Decision], logits: Sequence[Floats], *, temperature: float
) -> float:
    """1 / mean_i sum_a p(a)^2 / q(a), over all first steps a: p of the candidate, q of what was sampled from.

    The mean is that of p / q over what the candidate would show. A log holds what q showed: where p is large and q
    is tiny it holds nothing, and the weights that it does hold look even.

    logits: the candidate's, (n,) for each decision in request order.
    """
    if not decisions:
        return 1.0

    def spread(decision: Decision, logits_N: Floats) -> float:
        if decision.policy.max_fall == 0:  # the greedy order, whoever asks
            return 1.0
        best = plackett_luce.greedy(decision.logits)[: decision.policy.sampled]
        log_p = log_softmax(logits_N[best] / temperature)
        log_q = log_softmax(decision.logits[best] / decision.policy.temperature)
        return float(np.exp(logsumexp(2 * log_p - log_q).clip(max=LARGE)))

    return 1 / float(np.mean([*map(spread, decisions, logits)]))


def _unsupported(
    examples: Sequence[Example], asks: _PlackettLuce, *, rng: np.random.Generator
) -> float:
    """Share of rankings drawn from the candidate whose used prefix the log could not have shown."""
    if not examples:
        return 0.0
    return float(np.mean([_is_foreign(example, asks, rng=rng) for example in examples]))


def _is_foreign(example: Example, asks: _PlackettLuce, *, rng: np.random.Generator) -> bool:
    decision = example.decision
    drawn = asks.sample(decision, rng, top_n=min(example.used, decision.policy.sampled))
    sampled = plackett_luce.greedy(decision.logits)[: decision.policy.sampled]
    return not np.isin(drawn, sampled).all()
