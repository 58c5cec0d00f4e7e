"""Is the new model better, before any user sees it? Three questions, each answered with its evidence.

    parity   does the file that would serve score as torch does?
    golden   does it still rank a judged set as well as the champion, nDCG@10 within 1 %?
    offline  do the gate queries' own rewards say that it gains, by a lower bound above 0?

"Not enough evidence" is an answer, and says what it would take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil, isfinite, pi, sqrt
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from contract import plackett_luce
from contract.plackett_luce import Positions
from contract.policy import choose, log_prob_sampled
from contract.records import Candidate, Decision
from trainer import calibration
from trainer.estimators import (
    Doubt,
    Estimate,
    Evidence,
    delta_beta_ips,
    doubts,
    effective_share,
)
from trainer.examples import Example
from trainer.export import MIN_AGREEMENT
from trainer.splits import cluster

Floats: TypeAlias = NDArray[np.float64]

MAX_NDCG_DROP: Final = 0.01
GOLDEN_ALPHA: Final = 0.05
"""A fall that comes by chance more often than this is none: the set is small."""
DEPTH: Final = 10
NOTHING: Final = 1e-4
"""A gain below it is rounding, however sure."""
DRAWS: Final = 2_000
"""Prefixes drawn anew, of all decisions together, to know how far weights spread."""


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


class Kind(StrEnum):
    """The question."""

    PARITY = "parity"
    GOLDEN = "golden"
    OFFLINE = "offline"


class Answer(StrEnum):
    """What the gate says."""

    PASS = "pass"  # noqa: S105 -- no password
    REFUSE = "refuse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One answer with its evidence, as `evaluations` stores it."""

    kind: Kind
    estimator: str
    answer: Answer
    reason: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    alpha: float | None = None
    n: int | None = None
    clusters: int | None = None
    effective_share: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A query with documents of known worth."""

    query: str
    candidates: tuple[Candidate, ...]
    gains: tuple[float, ...]
    """By request position; 0 is worthless."""


def spent(alpha: float, *, round_number: int, candidates: int) -> float:
    """The level of one test: 6 alpha / (pi^2 r^2) over the round's candidates; over all rounds alpha at most."""
    return 6 * alpha / (pi**2 * round_number**2) / candidates


def parity(agreement: float) -> Verdict:
    """agreement: share of reference lists whose top k the file that serves ranks as torch does."""
    agrees = agreement >= MIN_AGREEMENT
    return Verdict(
        kind=Kind.PARITY,
        estimator="top-k agreement",
        answer=Answer.PASS if agrees else Answer.REFUSE,
        reason=f"the file that serves ranks {agreement:.1%} of the reference lists as torch does",
        estimate=agreement,
    )


def golden(ours: Floats, theirs: Floats) -> Verdict:
    """nDCG@10 on a judged set must not fall by more than 1 % of the champion's, chance aside.

    ours, theirs: (n,) of each judged query, candidate's and champion's.
    """
    gain = ours - theirs
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    high = float(gain.mean() + student.ppf(1 - GOLDEN_ALPHA, len(gain) - 1) * error)
    fell = gain.mean() < -MAX_NDCG_DROP * theirs.mean() and high < 0
    return Verdict(
        kind=Kind.GOLDEN,
        estimator="nDCG@10",
        answer=Answer.REFUSE if fell else Answer.PASS,
        reason=f"nDCG@10 {theirs.mean():.4f} -> {ours.mean():.4f}, at most 1 % lower is allowed, chance aside",
        estimate=float(gain.mean()),
        high=high,
        alpha=GOLDEN_ALPHA,
        n=len(gain),
        detail={"champion": float(theirs.mean()), "candidate": float(ours.mean())},
    )


def ndcg(logits: Floats, gains: Sequence[float]) -> float:
    """sum_i gain_i / log2(2 + rank_i) over the first 10, as a share of the best order's.

    >>> round(ndcg(np.array([1.0, 2.0]), [1.0, 0.0]), 4)
    0.6309
    """
    discount = 1 / np.log2(2 + np.arange(min(DEPTH, len(gains))))
    by_rank = np.array(gains)[plackett_luce.greedy(logits)]
    best = np.sort(gains)[::-1]
    ideal = float((best[: len(discount)] * discount).sum())
    return float((by_rank[: len(discount)] * discount).sum()) / ideal if ideal else 1.0


def offline(
    candidate: Scores,
    champion: Scores,
    examples: Sequence[Example],
    *,
    alpha: float,
    expected_gain: float,
    seed: int,
) -> Verdict:
    """Delta-beta-IPS over the gate queries' decisions, both models scored by the file that serves.

    expected_gain: what the tune queries promised. A gain that is small there and here must be seen on more queries.
    """
    evidence = gather(candidate, champion, examples, rng=np.random.default_rng(seed))
    gain = delta_beta_ips(evidence)
    doubted = doubts(evidence, expected_gain=max(expected_gain, gain.value))
    answer, reason = _answer(gain, doubted, alpha=alpha)
    low, high = gain.low(alpha), gain.high(alpha)
    return Verdict(
        kind=Kind.OFFLINE,
        estimator="delta-beta-IPS",
        answer=answer,
        reason=reason,
        estimate=gain.value,
        low=low if isfinite(low) else None,
        high=high if isfinite(high) else None,
        alpha=alpha,
        n=len(examples),
        clusters=gain.clusters,
        effective_share=effective_share(evidence),
        detail={
            "doubts": [doubt.name.lower() for doubt in doubted],
            "unsupported": evidence.unsupported,
            "balance": evidence.balance,
            "explored": int(evidence.explored.sum()),
            "mean_reward": float(evidence.reward.mean()) if examples else None,
            "expected_gain": expected_gain,
            "clusters_needed": gain.clusters_needed(alpha),
        },
    )


def gather(
    candidate: Scores,
    champion: Scores,
    examples: Sequence[Example],
    *,
    rng: np.random.Generator,
) -> Evidence:
    """The log-probabilities of the prefixes that made the answers, by the files that serve."""
    answers = _PlackettLuce(_Memory(champion), champion.temperature)
    asks = _as_sure_as(answers, candidate, examples)
    rows = [_probabilities(example, asks, answers) for example in examples]
    log_candidate, log_champion, log_sampled = (
        np.array(column) for column in (zip(*rows, strict=True) if rows else ((), (), ()))
    )
    return Evidence(
        log_candidate=log_candidate,
        log_champion=log_champion,
        log_sampled=log_sampled,
        log_propensity=np.array(
            [example.decision.choice.cum_log_propensity[example.reach - 1] for example in examples]
        ),
        explored=np.array([example.decision.choice.explored for example in examples], dtype=bool),
        reward=np.array([example.reward for example in examples]),
        cluster=np.array([cluster(example.query_sha256) for example in examples], dtype=np.int64),
        unsupported=_unsupported(examples, asks, rng=rng),
        balance=_balance(examples, asks, answers, rng=rng),
    )


def _answer(gain: Estimate, doubted: Sequence[Doubt], *, alpha: float) -> tuple[Answer, str]:
    bounds = f"{gain.value:+.4f}, at least {gain.low(alpha):+.4f} at level {alpha:.4f}"
    if Doubt.FEW_QUERIES in doubted:  # then the other doubts are guesses too
        return Answer.NOT_ENOUGH_EVIDENCE, f"{Doubt.FEW_QUERIES}: {gain.clusters}; gain {bounds}"
    if doubted:
        return Answer.REFUSE, "; ".join(doubted)
    if gain.low(alpha) > NOTHING:
        return Answer.PASS, f"gain {bounds}"
    if gain.high(alpha) < -NOTHING:
        return Answer.REFUSE, f"it is worse: gain {bounds}"
    needed = gain.clusters_needed(alpha)
    more = "no number of queries would do" if needed is None else f"about {needed} queries would do"
    return Answer.NOT_ENOUGH_EVIDENCE, f"gain {bounds}; with {gain.clusters} queries; {more}"


class _Memory:
    """A version's logits; it scores each request once, and not at all where it has served it."""

    def __init__(self, served: Scores) -> None:
        self._served = served
        self._known: dict[tuple[str, tuple[Candidate, ...]], Floats] = {}

    def logits(self, decision: Decision) -> Floats:
        served = self._served
        if (decision.version, decision.precision) == (served.version, served.precision):
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


def _probabilities(
    example: Example, asks: _PlackettLuce, answers: _PlackettLuce
) -> tuple[float, float, float]:
    decision = example.decision
    prefix = decision.choice.shown[: example.reach]
    sampled = log_prob_sampled(decision.logits, prefix, decision.policy)[-1]
    return asks.log_p(prefix, decision), answers.log_p(prefix, decision), float(sampled)


def _balance(
    examples: Sequence[Example],
    asks: _PlackettLuce,
    answers: _PlackettLuce,
    *,
    rng: np.random.Generator,
) -> float:
    """How many standard errors the mean of Dw over the used prefixes is off 0.

    The error is the one that the logged propensities imply, from prefixes drawn anew, and not the spread that is seen:
    weights have a long tail, and a log that misses it has a mean too low and a spread too small at once. Decisions
    were drawn independently, those about one query too.
    """
    if not examples:
        return 0.0

    def change(decision: Decision, shown: Positions, log_beta: float) -> float:
        gained, lost = asks.log_p(shown, decision), answers.log_p(shown, decision)
        return float(np.exp(gained - log_beta) - np.exp(lost - log_beta))

    def logged(example: Example) -> float:
        choice, k = example.decision.choice, example.used
        return change(example.decision, choice.shown[:k], choice.cum_log_propensity[k - 1])

    def drawn(example: Example) -> float:
        decision = example.decision
        choice = choose(decision.logits, decision.policy, rng, top_n=example.used)
        return change(decision, choice.shown, choice.cum_log_propensity[-1])

    times = ceil(DRAWS / len(examples))
    variance = sum(drawn(example) ** 2 for example in examples for _ in range(times)) / times
    total = sum(logged(example) for example in examples)
    return total / sqrt(variance) if variance else 0.0


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
