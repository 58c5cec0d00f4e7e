"""Is the new model better, before any user sees it? Four questions, each answered with its evidence.

    parity   does the file that would serve score as torch does?
    golden   does it still rank a judged set as well as the champion, nDCG@10 within 1 %?
    replay   where a reader can be asked again: are its answers to the gate queries better, by a lower bound above 0?
    offline  do the gate queries' own rewards say that it gains, by a lower bound above 0?

"Not enough evidence" is an answer, and says what it would take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil, isfinite, pi
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from contract import plackett_luce
from contract.records import Candidate
from trainer.estimators import (
    MIN_CLUSTERS,
    Doubt,
    Estimate,
    clusters_until,
    delta_beta_ips,
    doubts,
    effective_share,
    mean,
    with_one_more_loss,
)
from trainer.evidence import Scores, gather
from trainer.examples import Example
from trainer.export import MIN_AGREEMENT
from trainer.replay import Played, Replay, Unanswered

Floats: TypeAlias = NDArray[np.float64]

MAX_NDCG_DROP: Final = 0.01
GOLDEN_ALPHA: Final = 0.05
"""A fall that comes by chance more often than this is none: the set is small."""
DEPTH: Final = 10
MIN_GROUPS: Final = 20
"""Clusters of a replay, where several queries belong together."""
MIN_CHANGED: Final = 20
"""Queries whose used documents must differ: the mean of fewer differences is far from normal."""
NOTHING: Final = 1e-4
"""A gain below it is rounding, however sure."""


class Kind(StrEnum):
    """The question."""

    PARITY = "parity"
    GOLDEN = "golden"
    REPLAY = "replay"
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


def replay(asked: Replay, *, alpha: float) -> Verdict:
    """Both models' greedy orders, answered by the same reader and judged alike, paired and clustered by query."""
    try:
        played = asked.play()
    except Unanswered as failure:
        return _replayed(
            Answer.NOT_ENOUGH_EVIDENCE,
            f"the reader gave no answer ({failure}); it takes {asked.calls_wanted} calls",
            alpha=alpha,
            detail={"budget": asked.budget, "calls_wanted": asked.calls_wanted},
        )
    budget = {"budget": asked.budget, "calls_wanted": played.calls + asked.calls_wanted}
    return compared(played, alpha=alpha, detail=budget)


def compared(played: Played, *, alpha: float, detail: Mapping[str, Any]) -> Verdict:
    """What the paired differences say, clustered by query.

    detail: more to tell of them.
    """
    gain = mean(played.difference, played.cluster)
    low = with_one_more_loss(played.difference, played.cluster).low(alpha)
    answer, reason = _answer_of_replay(gain, played, alpha=alpha, low=low)
    high = gain.high(alpha)
    return replace(
        _replayed(
            answer, reason, alpha=alpha, detail={**_told(gain, played, alpha=alpha), **detail}
        ),
        estimate=gain.value,
        low=low if isfinite(low) else None,
        high=high if isfinite(high) else None,
        n=len(played.difference),
        clusters=gain.clusters,
    )


def _replayed(answer: Answer, reason: str, *, alpha: float, detail: Mapping[str, Any]) -> Verdict:
    return Verdict(
        kind=Kind.REPLAY,
        estimator="paired replay",
        answer=answer,
        reason=reason,
        alpha=alpha,
        detail=detail,
    )


def _told(gain: Estimate, played: Played, *, alpha: float) -> dict[str, Any]:
    return {
        "changed": played.changed,
        "calls": played.calls,
        "unasked": played.unasked,
        "queries": played.queries,
        "queries_needed": _queries_until(gain, played, alpha=alpha),
    }


def _answer_of_replay(
    gain: Estimate, played: Played, *, alpha: float, low: float
) -> tuple[Answer, str]:
    bounds = _bounds(gain, alpha=alpha, low=low)
    short = _too_few(gain, played)
    if short is None:
        answer, reason = _settled(
            gain,
            alpha=alpha,
            low=low,
            queries=played.queries,
            needed=_queries_until(gain, played, alpha=alpha),
        )
        if answer is not Answer.NOT_ENOUGH_EVIDENCE:
            return answer, reason
    else:
        reason = f"{short}; gain {bounds}"
    if played.unasked:
        reason += f"; {played.calls} calls were allowed, and {played.unasked} queries are not asked"
    return Answer.NOT_ENOUGH_EVIDENCE, reason


def _queries_until(gain: Estimate, played: Played, *, alpha: float) -> int | None:
    """Were there as many in each cluster."""
    needed = clusters_until(gain, alpha)
    return None if needed is None else ceil(needed * played.queries / gain.clusters)


def _too_few(gain: Estimate, played: Played) -> str | None:
    if played.queries < MIN_CLUSTERS:
        return f"{Doubt.FEW_QUERIES}: {played.queries}; it takes {MIN_CLUSTERS}"
    if gain.clusters < MIN_GROUPS:
        return f"the queries are about {gain.clusters} articles; it takes {MIN_GROUPS}"
    if not played.changed:
        return "both models would use the same documents; no number of queries would do"
    if played.changed < MIN_CHANGED:
        needed = ceil(played.queries * MIN_CHANGED / played.changed)
        return (
            f"used documents differ for {played.changed} queries; it takes {MIN_CHANGED},"
            f" of about {needed} queries"
        )
    return None


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
            "prefix": "cited" if evidence.is_cut else "used",
            "explored": int(evidence.explored.sum()),
            "mean_reward": float(evidence.reward.mean()) if examples else None,
            "expected_gain": expected_gain,
            "clusters_needed": gain.clusters_needed(alpha),
        },
    )


def _answer(gain: Estimate, doubted: Sequence[Doubt], *, alpha: float) -> tuple[Answer, str]:
    if Doubt.FEW_QUERIES in doubted:  # then the other doubts are guesses too
        bounds = _bounds(gain, alpha=alpha, low=gain.low(alpha))
        return Answer.NOT_ENOUGH_EVIDENCE, f"{Doubt.FEW_QUERIES}: {gain.clusters}; gain {bounds}"
    if doubted:
        return Answer.REFUSE, "; ".join(doubted)
    return _settled(
        gain,
        alpha=alpha,
        low=gain.low(alpha),
        queries=gain.clusters,
        needed=gain.clusters_needed(alpha),
    )


def _settled(
    gain: Estimate, *, alpha: float, low: float, queries: int, needed: int | None
) -> tuple[Answer, str]:
    """What an estimate says that is believed.

    low: its lower bound.  needed: queries until that reaches 0.
    """
    bounds = _bounds(gain, alpha=alpha, low=low)
    if low > NOTHING:
        return Answer.PASS, f"gain {bounds}"
    if gain.high(alpha) < -NOTHING:
        return Answer.REFUSE, f"it is worse: gain {bounds}"
    more = "no number of queries would do" if needed is None else f"about {needed} queries would do"
    return Answer.NOT_ENOUGH_EVIDENCE, f"gain {bounds}; with {queries} queries; {more}"


def _bounds(gain: Estimate, *, alpha: float, low: float) -> str:
    return f"{gain.value:+.4f}, at least {low:+.4f} at level {alpha:.4f}"
