"""Is the new model better, before any user sees it? Three questions, each answered with its evidence.

    parity   does the file that would serve score as torch does?
    golden   does it still rank a judged set as well as the champion, nDCG@10 within 1 %?
    offline  do the gate queries' own rewards say that it gains, by a lower bound above 0?

"Not enough evidence" is an answer, and says what it would take.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite, pi
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract import plackett_luce
from contract.policy import Policy, log_prob_sampled
from contract.records import Candidate, Decision
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
DEPTH: Final = 10


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


def golden(candidate: Scores, champion: Scores, judged: Sequence[Judged]) -> Verdict:
    """nDCG@10 on a judged set must not fall by more than 1 % of the champion's."""
    theirs, ours = (
        np.array([ndcg(served.logits(each.query, each.candidates), each.gains) for each in judged])
        for served in (champion, candidate)
    )
    drop = float(1 - ours.mean() / theirs.mean())
    fell = drop > MAX_NDCG_DROP
    return Verdict(
        kind=Kind.GOLDEN,
        estimator="nDCG@10",
        answer=Answer.REFUSE if fell else Answer.PASS,
        reason=f"nDCG@10 {theirs.mean():.4f} -> {ours.mean():.4f}, at most 1 % lower is allowed",
        estimate=float((ours - theirs).mean()),
        n=len(judged),
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
    """The log-probabilities of the used prefixes, by the files that serve."""
    asks, answers = _memory_of(candidate), _memory_of(champion)
    rows = [_probabilities(example, asks, answers, candidate, champion) for example in examples]
    log_candidate, log_champion, log_sampled = (
        np.array(column) for column in (zip(*rows, strict=True) if rows else ((), (), ()))
    )
    return Evidence(
        log_candidate=log_candidate,
        log_champion=log_champion,
        log_sampled=log_sampled,
        log_propensity=np.array(
            [example.decision.choice.cum_log_propensity[example.used - 1] for example in examples]
        ),
        explored=np.array([example.decision.choice.explored for example in examples], dtype=bool),
        reward=np.array([example.reward for example in examples]),
        cluster=np.array([cluster(example.query_sha256) for example in examples], dtype=np.int64),
        unsupported=_unsupported(examples, asks, candidate.temperature, rng=rng),
    )


def _answer(gain: Estimate, doubted: Sequence[Doubt], *, alpha: float) -> tuple[Answer, str]:
    bounds = f"{gain.value:+.4f}, at least {gain.low(alpha):+.4f} at level {alpha:.4f}"
    if Doubt.FEW_QUERIES in doubted:  # then the other doubts are guesses too
        return Answer.NOT_ENOUGH_EVIDENCE, f"{Doubt.FEW_QUERIES}: {gain.clusters}; gain {bounds}"
    if doubted:
        return Answer.REFUSE, "; ".join(doubted)
    if gain.low(alpha) > 0:
        return Answer.PASS, f"gain {bounds}"
    if gain.high(alpha) < 0:
        return Answer.REFUSE, f"it is worse: gain {bounds}"
    needed = gain.clusters_needed(alpha)
    more = "no number of queries would do" if needed is None else f"about {needed} queries would do"
    return Answer.NOT_ENOUGH_EVIDENCE, f"gain {bounds}; with {gain.clusters} queries; {more}"


Memory: TypeAlias = Callable[[Decision], Floats]
"""Logits of a decision's candidates."""


def _memory_of(served: Scores) -> Memory:
    """Scores each request once, and not at all where this very file has served it."""
    known: dict[tuple[str, tuple[Candidate, ...]], Floats] = {}

    def logits(decision: Decision) -> Floats:
        if (decision.version, decision.precision) == (served.version, served.precision):
            return decision.logits
        request = (decision.query, decision.candidates)
        if request not in known:
            known[request] = served.logits(decision.query, decision.candidates)
        return known[request]

    return logits


def _probabilities(
    example: Example, asks: Memory, answers: Memory, candidate: Scores, champion: Scores
) -> tuple[float, float, float]:
    decision = example.decision
    used = decision.choice.shown[: example.used]

    def log_p(logits: Floats, policy: Policy) -> float:
        return float(log_prob_sampled(logits, used, policy)[-1])

    def under(served: Scores) -> Policy:
        return replace(decision.policy, temperature=served.temperature)

    return (
        log_p(asks(decision), under(candidate)),
        log_p(answers(decision), under(champion)),
        log_p(decision.logits, decision.policy),
    )


def _unsupported(
    examples: Sequence[Example], asks: Memory, temperature: float, *, rng: np.random.Generator
) -> float:
    """Share of rankings drawn from the candidate whose used prefix the log could not have shown."""
    if not examples:
        return 0.0
    return float(np.mean([_is_foreign(each, asks, temperature, rng=rng) for each in examples]))


def _is_foreign(
    example: Example, asks: Memory, temperature: float, *, rng: np.random.Generator
) -> bool:
    decision = example.decision
    policy, logits = decision.policy, asks(decision)
    best = plackett_luce.greedy(logits)[: policy.sampled]
    drawn = best[plackett_luce.sample(logits[best] / temperature, rng, max_fall=policy.max_fall)]
    used = drawn[: example.used]
    return bool(np.isneginf(log_prob_sampled(decision.logits, used, policy)[-1]))
