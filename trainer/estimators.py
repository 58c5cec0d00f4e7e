"""How much better would another policy have done? Estimates from the log alone, with intervals and doubts.

Weights are probabilities of the prefix that made the answer: of the policy asked about, over the propensity with which
the prefix was shown. It ends with the last cited document, or with the last used one where nothing is cited. Where what
a reader passed over after that has not shaped the answer nor what it cites, the last cited place is a stopping time and
the ratio up to there is unbiased; then the weights are balanced too. Where they are not, nothing is cut off.
All decisions count, with the propensity of the mixture of greedy and sampled answers, whichever way the coin fell:
explored answers with the mixture's propensity would be a biased sample. What is estimated is the Plackett-Luce
component of the policies; of a greedy rule that was never shown, a log says nothing.
Sources: Wald (1945); Horvitz & Thompson (1952); Swaminathan & Joachims (2015); Kiyohara et al. (2022), for cascades;
Jeunen & Ustimenko (2024).

Shapes: I decisions.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, isfinite, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

Floats = NDArray[np.float64]

MIN_SHARE: Final = 0.2
MAX_UNSUPPORTED: Final = 0.02
MIN_CLUSTERS: Final = 100
MIN_CLUSTERS_SMALL_GAIN: Final = 400
SMALL_GAIN: Final = 0.05
BALANCE: Final = float(norm.isf(0.0005))
"""Standard errors by which the mean of Dw may miss 0: by chance once in a thousand times. Wrong propensities miss it by
more with every row, and a false alarm costs a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Rewarded decisions, with the log-probability of the prefix that made the answer under three policies."""

    log_candidate: Floats
    """(I,) under the Plackett-Luce policy of the model that asks."""
    log_champion: Floats
    """(I,) under that of the champion."""
    log_propensity: Floats
    """(I,) under the mixture that showed it: logged, finite."""
    log_sampled: Floats
    """(I,) under the Plackett-Luce part of that mixture alone."""
    explored: NDArray[np.bool_]
    reward: Floats
    """(I,) in [0, 1]."""
    observed: Floats
    """(I,) 1 / P(the reward is observed): how many decisions each stands for."""
    cluster: NDArray[np.int64]
    """(I,) the query: decisions about one query are not independent."""
    unsupported: float = 0.0
    """Share of the candidate's rankings that the log could not have shown."""
    balance: float = 0.0
    """How many standard errors the mean of Dw over the used prefixes is off 0, were the logged propensities right."""
    is_cut: bool = True
    """Whether prefixes end with the last cited document, and not with the last used one."""
    first_step_share: float = 1.0
    """The effective share that weights of first steps alone would have, in expectation and not as they were logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its standard error, both clustered by query."""

    value: float
    standard_error: float
    clusters: int

    def low(self, alpha: float) -> float:
        """The one-sided lower bound at level 1 - alpha (Student, clusters - 1 degrees of freedom)."""
        return self.value - self.quantile(alpha) * self.standard_error

    def high(self, alpha: float) -> float:
        """The one-sided upper bound at level 1 - alpha."""
        return self.value + self.quantile(alpha) * self.standard_error

    def quantile(self, alpha: float) -> float:
        """Of Student's t, at level 1 - alpha."""
        return float(student.ppf(1 - alpha, max(self.clusters - 1, 1)))

    def clusters_needed(self, alpha: float) -> int | None:
        """Queries until the lower bound reaches 0, were the value and spread to stay; None if it never will."""
        if not (self.value > 0 and isfinite(self.standard_error)):
            return None
        needed = (self.quantile(alpha) * self.standard_error / self.value) ** 2
        return max(self.clusters, ceil(self.clusters * needed))


class Doubt(StrEnum):
    """Why an estimate is not to be believed."""

    UNBALANCED = "its weights and the champion's differ in the mean by more than chance: wrong propensities or scores"
    FEW_EFFECTIVE = "too far from what was shown: the effective sample share is under .2"
    UNSUPPORTED = "over 2 % of its rankings could never have been shown"
    FEW_QUERIES = "too few distinct queries"


def ips(evidence: Evidence) -> Estimate:
    """The candidate's reward: mean of w R, w = pi / beta."""
    return mean(_weight(evidence) * evidence.reward, evidence.cluster, evidence.observed)


def snips(evidence: Evidence) -> Estimate:
    """The same, self-normalised: sum w R / sum w; biased by O(1/n), of less variance."""
    weight = _weight(evidence)
    if not weight.any():
        return Estimate(value=0.0, standard_error=np.inf, clusters=len(set(evidence.cluster)))
    both = weight * evidence.observed
    value = float((both * evidence.reward).sum() / both.sum())
    centred = both * (evidence.reward - value) / both.mean()
    spread = mean(centred, evidence.cluster)
    return Estimate(value=value, standard_error=spread.standard_error, clusters=spread.clusters)


def delta_beta_ips(evidence: Evidence) -> Estimate:
    """The candidate's reward less the champion's.

        D = mean( Dw (R - b) ),   Dw = (pi_candidate - pi_champion) / beta,   b = E[R Dw^2] / E[Dw^2]

    b is the constant that takes most variance out; E[Dw] is 0, so it adds no bias.
    """
    change = weight_change(evidence)
    squared = evidence.observed * change**2
    centre = float((evidence.reward * squared).sum() / squared.sum()) if squared.any() else 0.0
    return mean(change * (evidence.reward - centre), evidence.cluster, evidence.observed)


def weight_change(evidence: Evidence) -> Floats:
    """(I,) Dw = (pi_candidate - pi_champion) / beta."""
    champion = np.exp(evidence.log_champion - evidence.log_propensity)
    return _weight(evidence) - champion


def effective_share(evidence: Evidence) -> float:
    """(sum w)^2 / (I sum w^2) over explored answers, w = pi_candidate over the policy they were sampled from.

    Of explored answers alone, so that it tells how far the candidate is and not how seldom one explores. At most what
    is expected of first steps: weights only spread as steps are added, and a log can miss the few large ones.
    """
    explored = evidence.explored & np.isfinite(evidence.log_sampled)
    weight = np.exp(evidence.log_candidate[explored] - evidence.log_sampled[explored])
    if not weight.any():
        return 0.0
    logged = float(weight.sum() ** 2 / (len(weight) * (weight**2).sum()))
    return min(logged, evidence.first_step_share)


def doubts(evidence: Evidence, *, expected_gain: float) -> list[Doubt]:
    """Every reason not to believe an estimate from this evidence."""
    clusters = len(np.unique(evidence.cluster))
    wanted = MIN_CLUSTERS_SMALL_GAIN if expected_gain < SMALL_GAIN else MIN_CLUSTERS
    found = {
        Doubt.FEW_QUERIES: clusters < wanted,
        Doubt.UNBALANCED: abs(evidence.balance) > BALANCE,
        Doubt.FEW_EFFECTIVE: effective_share(evidence) < MIN_SHARE,
        Doubt.UNSUPPORTED: evidence.unsupported > MAX_UNSUPPORTED,
    }
    return [doubt for doubt, doubted in found.items() if doubted]


def _weight(evidence: Evidence) -> Floats:
    weight: Floats = np.exp(evidence.log_candidate - evidence.log_propensity)
    return weight


def mean(values: Floats, clusters: NDArray[np.int64], weights: Floats | float = 1.0) -> Estimate:
    """Weighted mean with the sandwich error: sqrt( C / (C - 1) sum_c (sum_{i in c} w_i (x_i - mean))^2 ) / sum w."""
    if not len(values):
        return Estimate(value=0.0, standard_error=np.inf, clusters=0)
    weighting = np.broadcast_to(weights, values.shape)
    value = float((weighting * values).sum() / weighting.sum())
    _, members = np.unique(clusters, return_inverse=True)
    sums = np.bincount(members, weights=weighting * (values - value))
    count = len(sums)
    error = np.inf if count < 2 else float(np.sqrt(count / (count - 1) * (sums**2).sum()))  # noqa: PLR2004 -- one cluster has no spread
    return Estimate(value=value, standard_error=error / float(weighting.sum()), clusters=count)


def with_one_more_loss(values: Floats, clusters: NDArray[np.int64]) -> Estimate:
    """The mean as if one more query had lost all there is to lose: differences are in [-1, 1].

    Student's bound trusts the spread that it sees. Where most differences are small gains and a few are large losses, a
    sample that happens to hold none of them looks sure of itself; with one of them it is not.
    """
    new = int(clusters.max(initial=0)) + 1
    return mean(np.append(values, -1.0), np.append(clusters, new))


def clusters_until(gain: Estimate, alpha: float) -> int | None:
    """Queries until the bound with one more loss reaches 0, were value m and spread s to stay; None if it never will.

    n m - 1 > q (s sqrt n + 1 + m)  bounds  (n m - 1) / (n + 1) > q sqrt((n s^2 + (1 + m)^2) / (n + 1)^2)
    """
    if not (gain.value > 0 and isfinite(gain.standard_error)):
        return None
    spread = gain.standard_error * sqrt(gain.clusters)
    quantile = gain.quantile(alpha)
    loss = 1 + quantile * (1 + gain.value)
    root = quantile * spread + sqrt((quantile * spread) ** 2 + 4 * gain.value * loss)
    return max(gain.clusters, ceil((root / (2 * gain.value)) ** 2))
