"""What an attempt is asked before it may become a candidate: its gain, what it forgets, can the gate judge it.

Shapes: B decisions, T steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import calibration, steps
from trainer.estimators import Estimate, Evidence, delta_beta_ips, effective_share
from trainer.evidence import first_step_share
from trainer.examples import Example
from trainer.golden import GoldenSet
from trainer.learner import Learner, Listing
from trainer.objective import step_log_prob
from trainer.splits import cluster

MOST_ASKED: Final = 500
"""Of the gate's decisions: each is scored after every epoch, twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What an attempt is asked, with the champion's answers."""

    tune: "Asked"
    judging: "Asked"
    """What the gate will ask, whose rewards are not looked at; the tune queries where it will ask nothing."""
    golden: GoldenSet
    remembered: Sequence[Tensor]
    """The champion's logits of the golden lists."""
    temperature: float

    @classmethod
    def of(
        cls,
        tune: Sequence[Example],
        judging: Sequence[Example],
        golden: GoldenSet,
        learner: Learner,
        *,
        temperature: float,
    ) -> Self:
        return cls(
            tune=Asked.of(tune, learner),
            judging=Asked.of(newest_explored(judging) or tune, learner),
            golden=golden,
            remembered=learner.scored(golden.listings),
            temperature=temperature,
        )

    def gain(self, learner: Learner) -> Estimate:
        """Over the champion, on the tune queries."""
        return delta_beta_ips(self.tune.evidence(learner, temperature=self.temperature))

    def effective_share(self, learner: Learner) -> float:
        """Of the explored answers by which the gate would judge."""
        return effective_share(self.judging.evidence(learner, temperature=self.temperature))

    def is_forgotten(self, learner: Learner) -> bool:
        """Whether the golden set would refuse these weights."""
        return self.golden.is_forgotten(
            learner.scored(self.golden.listings), champion=self.remembered
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Decisions, with the champion's logits of their lists."""

    examples: Sequence[Example]
    listings: Sequence[Listing]
    champion: Sequence[Tensor]

    @classmethod
    def of(cls, examples: Sequence[Example], learner: Learner) -> Self:
        listings = [Listing.of_example(example) for example in examples]
        return cls(examples=examples, listings=listings, champion=learner.scored(listings))

    def evidence(self, learner: Learner, *, temperature: float) -> Evidence:
        candidate = learner.scored(self.listings)
        return _evidence(self.examples, candidate, self.champion, temperature=temperature)


def newest_explored(judging: Iterable[Example]) -> list[Example]:
    """Of the gate's decisions those that tell an effective share."""
    explored = [each for each in judging if each.decision.choice.explored]
    return sorted(explored, key=lambda each: each.decision.id.int)[-MOST_ASKED:]


def _evidence(
    examples: Sequence[Example],
    candidate: Sequence[Tensor],
    champion: Sequence[Tensor],
    *,
    temperature: float,
) -> Evidence:
    """What the log says of the candidate, over the sampled sets and with torch's logits."""
    logged = steps.collate(examples, [np.zeros(example.used) for example in examples])
    last_B1 = torch.tensor([[example.reach - 1] for example in examples])

    def of_prefix(log_p_BT: Tensor) -> NDArray[np.float64]:
        log_p_B: NDArray[np.float64] = (
            log_p_BT.double().cumsum(-1).gather(-1, last_B1)[:, 0].numpy()
        )
        return log_p_B

    def log_p(logits: Sequence[Tensor], temperature: float) -> NDArray[np.float64]:
        return of_prefix(step_log_prob(steps.padded(logits).double() / temperature, logged))

    own = [logits_N.double().numpy() for logits_N in candidate]
    matched = calibration.matched(
        own,
        like=[logits_N.double().numpy() for logits_N in champion],
        temperature_of_those=temperature,
    )
    return Evidence(
        log_candidate=log_p(candidate, matched),
        log_champion=log_p(champion, temperature),
        log_propensity=np.array([example.log_propensity for example in examples]),
        log_sampled=np.array([example.log_sampled for example in examples]),
        explored=np.array([example.decision.choice.explored for example in examples]),
        reward=np.array([example.reward for example in examples]),
        observed=np.array([example.weight for example in examples]),
        cluster=np.array([cluster(example.query_sha256) for example in examples]),
        first_step_share=first_step_share(
            [example.decision for example in examples], own, temperature=matched
        ),
    )
