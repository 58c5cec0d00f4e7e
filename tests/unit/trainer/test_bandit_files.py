"""What the Open Bandit Pipeline is given, by arithmetic.

Two documents: the second has odds of 3 to 1 at temperature 1, and at epsilon .5 is shown first with .5 + .5 * .75.
"""

import json
from uuid import UUID

import numpy as np
import pytest

from contract.policy import Choice, Policy, log_propensity
from contract.records import Candidate, Decision
from trainer.bandit_files import BanditWriter
from trainer.estimators import Evidence, ips, snips
from trainer.examples import Example
from trainer.log_files import About

POLICY = Policy(epsilon=0.5, temperature=1.0, sampled=2)
ABOUT = About(line="default", spec={}, skipped={})


def an_example(odds, shown, *, reward, weight=1.0):
    logits = np.log(np.array(odds))
    order = np.array(shown)
    return Example(
        decision=Decision(
            id=UUID(int=0),
            tenant="acme",
            line="default",
            query="q",
            candidates=tuple(Candidate(text=str(at)) for at in range(len(odds))),
            logits=logits,
            policy=POLICY,
            choice=Choice(
                shown=order,
                cum_log_propensity=log_propensity(logits, order, POLICY),
                explored=True,
            ),
            version="v1",
            epoch=1,
            precision="float32",
        ),
        used=1,
        reward=reward,
        credits={},
        cited=frozenset(),
        query_sha256=bytes(32),
        fresh=True,
        weight=weight,
    )


LOG = [
    an_example([1.0, 3.0], [1, 0], reward=1.0),
    an_example([1.0, 3.0], [0, 1], reward=0.5, weight=2.0),
    an_example([6.0, 1.0, 2.0], [0, 2, 1], reward=0.0),
    an_example([1.0], [0], reward=0.25),
]


@pytest.fixture
def feedback(tmp_path):
    path = tmp_path / "feedback.npz"
    writer = BanditWriter(path, tmp_path, decisions=9, sampled=3)
    writer.add(LOG[:3])
    writer.add(LOG[3:])
    writer.finish(ABOUT)
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_every_decision_is_a_round_at_the_first_position(feedback):
    assert (int(feedback["n_rounds"]), int(feedback["n_actions"])) == (4, 3)
    assert feedback["position"].tolist() == [0, 0, 0, 0]
    assert feedback["reward"].tolist() == [1.0, 0.5, 0.0, 0.25]
    assert feedback["weight"].tolist() == [1.0, 2.0, 1.0, 1.0]
    assert feedback["action_context"].tolist() == np.eye(3).tolist()
    assert json.loads(str(feedback["about"]))["line"] == "default"


def test_the_action_is_the_rank_of_what_was_shown_first(feedback):
    assert feedback["action"].tolist() == [0, 1, 0, 0]


def test_the_probabilities_are_those_of_the_mixture(feedback):
    # Of 6 to 1 to 2, the best two take part in a sample: 6 to 2.
    assert feedback["pi_b"].shape == (4, 3, 1)
    assert feedback["pi_b"][:, :, 0] == pytest.approx(
        np.array(
            [
                [0.875, 0.125, 0.0],
                [0.875, 0.125, 0.0],
                [0.875, 0.125, 0.0],
                [1.0, 0.0, 0.0],
            ]
        )
    )
    assert feedback["pscore"] == pytest.approx([0.875, 0.125, 0.875, 1.0])


def test_the_context_is_what_was_known_before_the_draw(feedback):
    # How many; how likely a sample begins with each rank; 1 / its place in the first stage.
    assert feedback["context"] == pytest.approx(
        np.array(
            [
                [2, 0.75, 0.25, 0, 1 / 2, 1, 0],
                [2, 0.75, 0.25, 0, 1 / 2, 1, 0],
                [3, 0.75, 0.25, 0, 1, 1 / 3, 0],
                [1, 1, 0, 0, 1, 0, 0],
            ]
        )
    )


def test_a_policy_is_worth_by_the_file_what_it_is_worth_by_our_estimators(feedback):
    # Rank 1 with .4 wherever there are two candidates.
    policy = np.array([[0.6, 0.4, 0.0]] * 3 + [[1.0, 0.0, 0.0]])

    chosen = policy[np.arange(4), feedback["action"]] / feedback["pscore"]
    by_weights = float((chosen * feedback["reward"]).mean())
    by_shares = float((chosen * feedback["reward"]).mean() / chosen.mean())

    evidence = Evidence(
        log_candidate=np.log([0.6, 0.4, 0.6, 1.0]),
        log_champion=np.zeros(4),
        log_propensity=np.log([0.875, 0.125, 0.875, 1.0]),
        log_sampled=np.zeros(4),
        explored=np.ones(4, dtype=bool),
        reward=np.array([1.0, 0.5, 0.0, 0.25]),
        observed=np.ones(4),
        cluster=np.arange(4),
    )
    assert by_weights == pytest.approx((0.6 / 0.875 + 0.4 / 0.125 * 0.5 + 0.25) / 4)
    assert by_weights == pytest.approx(ips(evidence).value)
    assert by_shares == pytest.approx(snips(evidence).value)
