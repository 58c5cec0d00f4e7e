from dataclasses import replace

import numpy as np
import pytest

from contract import policy
from contract.policy import Policy
from tests import trainees
from trainer import steps
from trainer.objective import Objective

DOCUMENTS = ["a", "b", "c", "d"]
SCORES = np.array([0.0, 3.0, 1.0, 2.0])  # greedy order: b d c a


def example(*, reward=1.0, used=3, rule=None, **changes):
    made = trainees.example(
        query="q",
        documents=DOCUMENTS,
        scores=SCORES,
        reward=lambda _: reward,
        rng=np.random.default_rng(0),
        rule=rule or replace(trainees.RULE, epsilon=0.0),
        used=used,
    )
    return replace(made, **changes)


def advantage(one):
    """A lone query expects .5: nobody else was asked."""
    return steps.advantages([one], Objective())[0].tolist()


def test_without_a_word_about_documents_every_step_has_the_surprise():
    assert advantage(example()) == [0.5, 0.5, 0.5]


def test_where_the_bases_order_was_played_the_surprise_is_what_it_was_not_worth():
    assert advantage(example(reference=0.75)) == [0.25, 0.25, 0.25]


def test_credit_is_centred_within_the_list_and_counts_half():
    # Request positions 1, 3, 2 were used; their mean is .4.
    told = example(credits={1: 0.9, 3: 0.1, 2: 0.2})

    assert advantage(told) == pytest.approx([0.25 + 0.25, 0.25 - 0.15, 0.25 - 0.1])


def test_a_document_that_nobody_spoke_of_keeps_the_surprise():
    told = example(credits={1: 0.9, 3: 0.1})

    assert advantage(told) == pytest.approx([0.25 + 0.2, 0.25 - 0.2, 0.5])


def test_one_word_about_one_document_says_nothing():
    assert advantage(example(credits={1: 0.9})) == [0.5, 0.5, 0.5]


def test_a_cited_document_answers_for_the_reward_and_the_others_do_not():
    # Request positions 1, 3, 2 were used.
    assert advantage(example(cited=frozenset({3}))) == [0.0, 0.5, 0.0]


def test_a_cited_document_answers_for_a_failure_too():
    assert advantage(example(reward=0.0, cited=frozenset({3, 2}))) == [0.0, -0.5, -0.5]


def test_what_was_said_of_documents_outweighs_citations():
    told = example(credits={1: 0.9, 3: 0.1, 2: 0.2})

    assert advantage(replace(told, cited=frozenset({2}))) == advantage(told)


def test_a_citation_of_what_was_not_used_says_nothing():
    assert advantage(example(cited=frozenset({0}))) == [0.5, 0.5, 0.5]


def test_an_objective_may_do_without_a_baseline_and_without_credit():
    told = example(credits={1: 0.9, 3: 0.1, 2: 0.2}, cited=frozenset({3}))

    (plain,) = steps.advantages([told], Objective(baseline=False, credit=False))

    assert plain.tolist() == [1.0, 1.0, 1.0]


def test_what_is_learned_about_is_the_sampled_set_in_request_order():
    one = example(rule=Policy(epsilon=0.0, temperature=1.0, sampled=3))

    shown, remaining, free = steps.choices(one)

    # b, c and d could move: b is the first of them, d the last.
    assert steps.sampled(one).tolist() == [1, 2, 3]
    assert shown.tolist() == [0, 2, 1]
    assert remaining.tolist() == [[True, True, True], [False, True, True], [False, True, False]]
    assert free.all()


def test_ranks_beyond_the_sampled_set_teach_nothing():
    one = example(used=4, rule=Policy(epsilon=0.0, temperature=1.0, sampled=2))

    assert steps.choices(one)[2].tolist() == [True, True, False, False]


def test_forced_steps_teach_nothing():
    one = example(rule=Policy(epsilon=0.0, temperature=1.0, max_fall=0))

    assert not steps.choices(one)[2].any()


def test_a_batch_holds_what_was_logged_of_each_step():
    rule = Policy(epsilon=0.5, temperature=1.0)
    short, long = example(used=1, rule=rule), example(used=3, rule=rule)

    batch = steps.collate([short, long], [np.array([0.1]), np.array([0.2, 0.3, 0.4])])

    assert batch.advantage_BT.numpy() == pytest.approx(np.array([[0.1, 0, 0], [0.2, 0.3, 0.4]]))
    assert batch.free_BT.tolist() == [[True, False, False], [True, True, True]]
    logged = policy.log_propensity(SCORES, long.decision.choice.shown, rule)[:3]
    assert batch.log_propensity_BT[1].cumsum(0).numpy() == pytest.approx(logged, abs=1e-6)


def test_a_reward_that_is_seldom_observed_teaches_as_much_more():
    examples = [example(used=1, weight=3.0), example(used=1, weight=1.0)]

    seldom, often = steps.advantages(examples, Objective(baseline=False))

    # Their mean weight is 2: the rate of learning stays.
    assert seldom.tolist() == [3 / 2]
    assert often.tolist() == [1 / 2]
