from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import pytest
import torch

from tests import trainees
from trainer.activations import Activations
from trainer.estimators import effective_share
from trainer.evidence import gather
from trainer.exam import MOST_ASKED, Exam, newest_explored
from trainer.golden import GoldenSet
from trainer.learner import Capacity, Learner
from trainer.model import Reranker


@dataclass
class Served:
    """A model as it would be served, without a file."""

    model: Reranker
    version: str
    precision: str = "float32"
    temperature: float = 1.0

    def logits(self, query, candidates):
        return trainees.logits(self.model, query, [each.text for each in candidates])


def decisions(model, number, *, seed):
    return trainees.log(
        model, reward=lambda shown: float("new" in shown[0]), decisions=number, seed=seed
    )


def examined(model, tune, judging):
    """The share of a last layer that was shaken, and that model."""
    activations = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 26)
    learner = Learner.of(model, Capacity.LAST_LAYER, activations, [])
    exam = Exam.of(tune, judging, GoldenSet([]), learner, temperature=1.0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return exam.effective_share(learner)


def test_an_attempt_has_the_effective_share_that_the_gate_will_find():
    model = trainees.reranker()
    tune, judging = decisions(model, 30, seed=0), decisions(model, 80, seed=1)

    share = examined(model, tune, judging)

    found = gather(
        Served(model, "candidate"), Served(model, "tiny"), judging, rng=np.random.default_rng(0)
    )
    # Activations are kept in half precision.
    assert share == pytest.approx(effective_share(found), abs=0.02)
    assert 0.02 < share < 0.98


def test_the_rewards_of_what_the_gate_will_ask_are_not_looked_at():
    models = [trainees.reranker() for _ in range(2)]
    tune, judging = decisions(models[0], 30, seed=0), decisions(models[0], 80, seed=1)
    unknown = [replace(each, reward=float("nan")) for each in judging]

    assert examined(models[0], tune, judging) == examined(models[1], tune, unknown)


def test_of_many_decisions_the_newest_explored_ones_tell_an_effective_share():
    log = decisions(trainees.reranker(), 20, seed=0)
    explored = next(each for each in log if each.decision.choice.explored)
    greedy = next(each for each in log if not each.decision.choice.explored)
    many = [
        replace(each, decision=replace(each.decision, id=UUID(int=number)))
        for number, each in enumerate([explored] * (MOST_ASKED + 2) + [greedy])
    ]

    assert newest_explored(many[::-1]) == many[2:-1]


def test_where_nothing_judges_the_tune_queries_are_asked():
    models = [trainees.reranker() for _ in range(2)]
    tune = newest_explored(decisions(models[0], 30, seed=0))

    assert examined(models[0], tune, []) == examined(models[1], tune, tune)
