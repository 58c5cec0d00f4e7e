from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pytest
import torch

from contract.policy import Policy
from contract.records import Candidate, Source
from tests import trainees
from trainer.activations import Activations
from trainer.caps import Shares
from trainer.estimators import Estimate
from trainer.examples import Origin
from trainer.gate import Judged
from trainer.golden import GoldenSet
from trainer.ladder import Rung
from trainer.learner import Capacity, Learner
from trainer.objective import Objective
from trainer.ranks import Ranks
from trainer.splits import Split, split
from trainer.train import Task, Trained, best, climb

LAST_LAYER = Rung(
    capacity=Capacity.LAST_LAYER, lr=3e-3, epochs=2, kls=(0.1,), objective=Objective(), batch=32
)
FUSION = replace(LAST_LAYER, capacity=Capacity.FUSION, lr=5e-2)
LORA = replace(LAST_LAYER, capacity=Capacity.LORA, lr=3e-2)
EVERYTHING = replace(LAST_LAYER, capacity=Capacity.EVERYTHING)
UNSPOILABLE = GoldenSet(
    [
        Judged(
            query="sea", candidates=(Candidate(text="red"), Candidate(text="sun")), gains=(1.0, 1.0)
        )
        for _ in range(2)
    ]
)
"""Whatever the order, it is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting(Ranks):
    """A rank alone that notes what it was given to train."""

    noted: list[Task] = field(default_factory=list)

    def together(self, task):
        self.noted.append(task)
        return nullcontext()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def first_is_new(documents):
    return float("new" in documents[0])


def first_is_anything(documents):
    return 0.5


def train(model, examples, *rungs, **more):
    return climbed(model, sides(examples), *rungs, **more)


def climbed(model, sides, *rungs, seed=0, golden=UNSPOILABLE, **more):
    activations = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 26)
    return list(
        climb(
            model,
            sides,
            rungs=rungs,
            activations=activations,
            golden=golden,
            temperature=1.0,
            seed=seed,
            **more,
        )
    )


def sides(examples):
    return split(examples, champion="tiny", tune_share=0.2, gate_share=0.2)


def reward_of(model, trained, *, seed=99):
    """The mean reward of the greedy order on queries never seen."""
    state = {name: tensor.clone() for name, tensor in model.state().items()}
    if trained is not None:
        model.load_state({**state, **trained.state})
    rewards = [
        example.reward
        for example in trainees.log(
            model,
            reward=first_is_new,
            decisions=200,
            seed=seed,
            rule=replace(trainees.RULE, epsilon=0.0),
        )
    ]
    model.load_state(state)
    return float(np.mean(rewards))


def test_the_last_layer_learns_what_is_rewarded():
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=600)

    (trained,) = train(model, examples, LAST_LAYER)

    assert trained.tune.value > 0
    assert reward_of(model, trained) > reward_of(model, None) + 0.1


@pytest.mark.parametrize("rung", [LORA, EVERYTHING], ids=lambda rung: rung.capacity)
def test_the_larger_rungs_learn_it_too_and_leave_the_champion_as_it_was(rung):
    model = trainees.reranker()
    before = {name: tensor.clone() for name, tensor in model.state().items()}
    examples = trainees.log(model, reward=first_is_new, decisions=200, seed=1)

    (trained,) = train(model, examples, rung)

    assert trained.capacity is rung.capacity
    assert any("layer.0" in name for name in trained.state)
    assert reward_of(model, trained) > reward_of(model, None) + 0.1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state().items())


def test_a_rung_is_tried_on_as_many_fresh_rewards_as_it_asks_for(caplog):
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=60)
    n = len(sides(examples).train)

    with caplog.at_level("INFO"):
        train(model, examples, replace(LORA, min_rewards=n), replace(EVERYTHING, min_rewards=n + 1))

    assert [record.getMessage() for record in caplog.records] == [
        f"rung.skipped capacity=everything rewards={n} of={n + 1}"
    ]


def test_the_fusion_learns_where_the_first_stage_was_right():
    model = trainees.reranker()
    examples = [
        replace(example, reward=float(example.decision.choice.shown[0] == 0))
        for example in trainees.log(model, reward=first_is_anything, decisions=500)
    ]

    (trained,) = train(model, examples, FUSION)

    reciprocal_rank = trained.state["fusion.first_stage"][0]
    assert reciprocal_rank > 0.1
    assert set(trained.state) == {"fusion.pair", "fusion.first_stage", "fusion.bias"}


def test_what_is_rewarded_alike_makes_no_candidate_or_a_harmless_one():
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_anything, decisions=300)

    trained = train(model, examples, FUSION, LAST_LAYER)

    # Every order is worth the same: whatever is estimated as a gain is none.
    assert all(abs(each.tune.value) < 1e-9 for each in trained)


def test_training_leaves_the_champion_as_it_was():
    model = trainees.reranker()
    before = {name: tensor.clone() for name, tensor in model.state().items()}

    train(model, trainees.log(model, reward=first_is_new, decisions=200), FUSION, LAST_LAYER)

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state().items())


def test_only_the_last_layer_and_what_follows_change():
    model = trainees.reranker()

    (trained,) = train(model, trainees.log(model, reward=first_is_new, decisions=300), LAST_LAYER)

    assert not any("layer.0" in name or "embeddings" in name for name in trained.state)
    assert any("layer.1" in name for name in trained.state)


def test_the_same_seed_makes_the_same_candidate():
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=200)

    (one,), (other,) = (train(model, examples, LAST_LAYER, seed=5) for _ in range(2))

    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_a_rung_without_replay_makes_nothing_of_what_is_not_fresh():
    model = trainees.reranker()
    examples = [
        replace(example, reward=float(example.decision.choice.shown[0] == 0))
        for example in trainees.log(model, reward=first_is_anything, decisions=500)
    ]
    to_train_on = {example.decision.id for example in sides(examples).train}
    replayed = [
        replace(example, fresh=example.decision.id not in to_train_on) for example in examples
    ]

    trained = train(model, replayed, replace(FUSION, replay=500), LAST_LAYER)

    assert [each.capacity for each in trained] == [Capacity.FUSION]


def test_of_what_a_rung_learns_from_no_source_holds_more_than_its_share():
    model = trainees.reranker()
    log = trainees.log(model, reward=first_is_new, decisions=200)
    origins = [f"user-{number % 40}" for number in range(180)] + ["flood"] * 20
    heard = [
        replace(each, fresh=False, origins=frozenset([Origin("default", Source.END_USER, name)]))
        for each, name in zip(log, origins, strict=True)
    ]
    ranks = Noting()

    climbed(
        model,
        Split(train=tuple(heard), tune=tuple(log[:50]), gate=()),
        replace(FUSION, replay=60),
        shares=Shares(source=0.1),
        ranks=ranks,
    )

    (task,) = ranks.noted
    # Of all 200 the flood holds a tenth, of the newest 60 a third: x <= .1 (x + 40), x <= 4.
    assert len(task.examples) == 44


def test_what_is_not_fresh_tunes_nothing():
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=200)
    to_tune_on = {example.decision.id for example in sides(examples).tune}

    stale = [replace(each, fresh=each.decision.id not in to_tune_on) for each in examples]

    assert train(model, stale, LAST_LAYER) == []


def test_the_share_of_cut_ratios_is_told_for_each_kind_of_answer():
    model = trainees.reranker()

    (trained,) = train(model, trainees.log(model, reward=first_is_new, decisions=300), LAST_LAYER)

    assert set(trained.clipped) == {"champion/explored", "champion/greedy"}
    assert all(0 <= share <= 1 for share in trained.clipped.values())


def test_cached_and_uncached_activations_score_alike():
    model = trainees.reranker()
    texts = [("red sun", "new cat"), ("red sun", "old"), ("sea", "one two dog")]
    roomy = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 20)
    cramped = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=0)
    roomy.keep(texts)

    (kept, kept_mask), (computed, mask) = roomy.of(texts), cramped.of(texts)

    assert (len(roomy), len(cramped)) == (3, 0)
    assert torch.equal(kept_mask, mask)
    # Half precision keeps three digits.
    assert torch.allclose(kept, computed, atol=5e-3, rtol=1e-2)


def test_activations_that_are_kept_ahead_fit_the_budget_and_older_ones_make_room():
    model, tokenizer = trainees.reranker(), trainees.tokenizer()
    first, second, third, fourth = (("sun", word) for word in ("old", "cat", "dog", "sea"))
    (pair,) = tokenizer.pairs("sun", ["old"])  # as long as the others: a word each
    size = len(pair.ids) * model.encoder.config.hidden_size * 2
    cache = Activations(model, tokenizer, pad_id=0, max_bytes=2 * size)

    cache.keep([first, second])
    cache.keep([third, first])
    cache.keep([third, first, fourth])

    assert list(cache._kept) == [first, third]
    assert cache._left_bytes == 0


def test_what_is_kept_ahead_without_making_room_takes_only_what_is_left():
    model, tokenizer = trainees.reranker(), trainees.tokenizer()
    first, second, third = (("sun", word) for word in ("old", "cat", "dog"))
    (pair,) = tokenizer.pairs("sun", ["old"])
    size = len(pair.ids) * model.encoder.config.hidden_size * 2
    cache = Activations(model, tokenizer, pad_id=0, max_bytes=2 * size)

    cache.keep([first])
    cache.keep([second, third], makes_room=False)

    assert list(cache._kept) == [first, second]


def test_the_head_over_cached_activations_is_the_whole_model():
    model = trainees.reranker()
    documents = ["new cat", "old red sea", "dog"]
    cache = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 20)

    states, mask = cache.of([("sun two", document) for document in documents])
    with torch.no_grad():
        ours = model.encoder.head(states, mask).double().numpy()

    # Half precision: three digits of activations of order 1.
    assert ours == pytest.approx(trainees.logits(model, "sun two", documents), abs=0.02)


def attempt(*, share, gain, forgets=False):
    return Trained(
        capacity=Capacity.LAST_LAYER,
        kl=0.1,
        epoch=1,
        length=1.0,
        state={},
        tune=Estimate(value=gain, standard_error=0.1, clusters=10),
        effective_share=share,
        forgets=forgets,
        clipped={},
    )


def test_of_the_attempts_that_the_gate_would_look_at_the_one_that_gains_most_is_best():
    near, far = attempt(share=0.5, gain=0.05), attempt(share=0.2, gain=0.2)
    nearest = attempt(share=0.9, gain=0.01)
    forgetful = attempt(share=0.9, gain=0.3, forgets=True)

    assert best([near, far, nearest, forgetful]) is near
    assert not far.is_admissible  # .25 is asked by torch's logits, .2 by the file's
    assert not forgetful.is_admissible


def test_what_the_gate_could_not_judge_makes_no_candidate():
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=400)
    ungated = split(examples, champion="tiny", tune_share=0.2, gate_share=0.0)
    # A policy so sure of itself shows next to nothing of what another one would.
    sure = Policy(epsilon=1.0, temperature=0.02)
    gated = trainees.log(model, reward=first_is_new, decisions=100, seed=1, rule=sure)

    assert len(climbed(model, ungated, LAST_LAYER)) == 1
    assert climbed(model, replace(ungated, gate=tuple(gated)), LAST_LAYER) == []


def test_what_forgets_the_golden_set_makes_no_candidate():
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=300)
    golden = GoldenSet(old_is_right(model))

    (forgetful,) = train(model, examples, LAST_LAYER)
    mindful = train(model, examples, LAST_LAYER, golden=golden)

    assert ndcg_of(model, forgetful, golden) < 0.9  # the champion has 1
    assert all(ndcg_of(model, each, golden) > 0.99 for each in mindful)


def test_the_log_says_why_a_rung_made_no_candidate(caplog):
    model = trainees.reranker()
    examples = trainees.log(model, reward=first_is_new, decisions=300)

    with caplog.at_level("INFO"):
        made = train(model, examples, LAST_LAYER, golden=GoldenSet(old_is_right(model)))

    (said,) = (record.getMessage() for record in caplog.records)
    assert made == []
    assert said.startswith("rung.dropped capacity=last_layer tune_gain=")
    assert said.endswith("forgets=True")


def old_is_right(model):
    """Lists that the champion ranks perfectly, and that rewards for what is new turn round."""
    lists = [(" ".join(pair), ["new", "old"]) for pair in combinations(trainees.WORDS, 2)]
    return [
        Judged(
            query=query,
            candidates=tuple(Candidate(text=text) for text in documents),
            gains=(0.0, 1.0),
        )
        for query, documents in lists
        if trainees.logits(model, query, documents).argmax() == 1
    ]


def ndcg_of(model, trained, golden):
    own = {name: tensor.clone() for name, tensor in model.state().items()}
    model.load_state(own | trained.state)
    ndcg = golden.ndcg(AsTorch(model)).mean()
    model.load_state(own)
    return ndcg


class AsTorch:
    """A version that scores as torch does."""

    version = "learned"
    precision = "float32"
    temperature = 1.0

    def __init__(self, model):
        self.model = model

    def logits(self, query, candidates):
        return trainees.logits(self.model, query, [each.text for each in candidates])


def test_half_of_the_way_is_between_the_champion_and_what_was_learned():
    model = trainees.reranker()
    activations = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 20)

    with Learner.of(model, Capacity.LAST_LAYER, activations, []) as learner:
        start = [weight.detach().clone() for weight in learner.parameters]
        with torch.no_grad():
            for weight in learner.parameters:
                weight.add_(2.0)
        with learner.part_of_the_way(0.5):
            half = [weight.detach().clone() for weight in learner.parameters]
        end = [weight.detach().clone() for weight in learner.parameters]

    for was, between, now in zip(start, half, end, strict=True):
        assert torch.allclose(between, was + 1.0, atol=1e-6)
        assert torch.allclose(now, was + 2.0, atol=1e-6)
