from dataclasses import dataclass, replace
from itertools import permutations
from math import exp, pi

import numpy as np
import pytest

from contract import plackett_luce
from contract.policy import log_propensity
from contract.records import Candidate
from tests import trainees
from trainer import evidence, gate
from trainer.gate import Answer


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A version that knows each document's logit."""

    worth: dict[str, float]
    version: str = "candidate"
    precision: str = "float32"
    temperature: float = 1.0

    def logits(self, query, candidates):
        return np.array([self.worth[candidate.text] for candidate in candidates])


TEXTS = ["a", "b", "c"]
CHAMPION = Fake(worth={"a": 1.0, "b": 0.5, "c": 0.0}, version="tiny")
BETTER = Fake(worth={"a": 0.0, "b": 0.5, "c": 1.0})
WORSE = Fake(worth={"a": 1.0, "b": 1.0, "c": -1.0})


class Logged(Fake):
    """The champion as a model to log with: `trainees.log` asks it like a reranker."""


def examples(n, *, seed=0, flipped=0.1, champion=CHAMPION):
    """Decisions of the champion's policy about three documents, rewarded where c came first, some flipped."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng(seed + 1_000)
    return [
        trainees.example(
            query=f"{seed}.{number}",
            documents=TEXTS,
            scores=champion.logits("", [Candidate(text=text) for text in TEXTS]),
            reward=lambda used: float((used[0] == "c") != (noise.random() < flipped)),
            rng=rng,
        )
        for number in range(n)
    ]


def offline(candidate, logged, *, alpha=0.03, expected_gain=0.1):
    return gate.offline(
        candidate, CHAMPION, logged, alpha=alpha, expected_gain=expected_gain, seed=0
    )


def test_a_better_model_passes_with_its_bound_above_zero():
    verdict = offline(BETTER, examples(600))

    assert verdict.answer is Answer.PASS
    assert 0 < verdict.low < verdict.estimate < verdict.high
    assert (verdict.n, verdict.clusters) == (600, 600)


def test_a_worse_model_is_refused_as_worse():
    verdict = offline(WORSE, examples(3_000))

    assert verdict.answer is Answer.REFUSE
    assert verdict.reason.startswith("it is worse")


def test_the_champion_itself_is_not_enough_evidence_whatever_the_traffic():
    verdict = offline(replace(CHAMPION, version="copy"), examples(500))

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert verdict.estimate == pytest.approx(0, abs=1e-5)


def test_a_model_that_is_only_surer_of_the_same_order_is_no_better():
    rewarded = [replace(each, reward=1 - each.reward) for each in examples(600)]  # "a" is right
    surer = Fake(worth={text: 5 * logit for text, logit in CHAMPION.worth.items()})

    verdict = offline(surer, rewarded)

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert verdict.estimate == pytest.approx(0, abs=1e-5)


def test_a_small_gain_says_what_it_would_take():
    slight = Fake(worth={"a": 1.0, "b": 0.5, "c": 0.05})

    verdict = offline(slight, examples(450, seed=1, flipped=0.4), expected_gain=0.01)

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert verdict.detail["clusters_needed"] > 450


def read(n, *, reader, used=2, seed=0):
    """Decisions of the champion's policy, what was used of each read by this reader: a reward and what it cites."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        example = trainees.example(
            query=f"{seed}.{number}",
            documents=TEXTS,
            scores=CHAMPION.logits("", [Candidate(text=text) for text in TEXTS]),
            reward=lambda _: 0.0,
            used=used,
            rng=rng,
        )
        reward, cited = reader([TEXTS[at] for at in example.decision.choice.shown[:used]])
        positions = frozenset(TEXTS.index(text) for text in cited)
        found.append(replace(example, reward=reward, cited=positions))
    return found


def cascade(used):
    """Its answer is made of c where it comes first, whatever follows; of both else."""
    return (1.0, "c") if used[0] == "c" else (0.2, used)


def whole_prompt(used):
    """It cites the first document alone unless c misleads it: then c, and answers worse."""
    return (0.2, "c") if used[-1] == "c" else (0.9, used[0])


def gain(candidate, reader):
    """Of the Plackett-Luce policies, over every used pair of documents, at the same temperature."""
    logits = [
        model.logits("", [Candidate(text=text) for text in TEXTS])
        for model in (candidate, CHAMPION)
    ]
    pairs = list(permutations(range(3), 2))
    p_new, p_old = (
        np.exp([plackett_luce.log_prob(each, pair)[-1] for pair in pairs]) for each in logits
    )
    rewards = np.array([reader([TEXTS[at] for at in pair])[0] for pair in pairs])
    return float(((p_new - p_old) * rewards).sum())


@pytest.mark.parametrize(("reader", "prefix"), [(cascade, "cited"), (whole_prompt, "used")])
def test_a_prefix_ends_with_the_last_cited_document_unless_what_follows_decides_what_is_cited(
    reader, prefix
):
    misled = Fake(
        worth={"a": 0.5, "b": 0.0, "c": 1.0}
    )  # as sure as the champion, of other documents

    verdict = offline(misled, read(3_000, reader=reader))

    assert verdict.detail["prefix"] == prefix
    error = (verdict.high - verdict.low) / 2 / 1.9
    assert abs(verdict.estimate - gain(misled, reader)) < 4 * error


def test_few_queries_are_not_enough_evidence_however_clear():
    verdict = offline(BETTER, examples(99))

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert verdict.detail["doubts"] == ["few_queries"]


def test_no_queries_at_all_are_not_enough_evidence():
    assert offline(BETTER, []).answer is Answer.NOT_ENOUGH_EVIDENCE


def test_a_model_far_from_what_was_shown_is_refused():
    sure = Fake(worth={"a": 6.0, "b": 3.0, "c": 0.0}, version="tiny")
    distant = Fake(worth={"a": 0.0, "b": 3.0, "c": 6.0})

    verdict = gate.offline(
        distant, sure, examples(400, champion=sure), alpha=0.03, expected_gain=0.1, seed=0
    )

    assert verdict.answer is Answer.REFUSE
    assert "few_effective" in verdict.detail["doubts"]


def test_a_model_whose_favourite_is_hardly_ever_shown_is_too_far_however_even_the_logged_weights():
    sure = Fake(worth={"a": 0.0, "b": 0.0, "c": -12.0}, version="tiny")  # a, b: one half each
    distant = Fake(worth={"a": 0.0, "b": -12.0, "c": 0.0})  # a, c

    verdict = gate.offline(
        distant, sure, examples(400, champion=sure), alpha=0.03, expected_gain=0.1, seed=0
    )

    # a: .5^2 / .5; c: .5^2 / (e^-12 / 2). Of the logged ones a weighs 1 and b 0: half of them are left.
    assert verdict.effective_share == pytest.approx(1 / (0.5 + 0.5 * exp(12)), rel=0.01)
    assert "few_effective" in verdict.detail["doubts"]


def test_rankings_that_could_never_be_shown_are_noticed():
    sampled = [
        replace(
            example,
            decision=replace(example.decision, policy=replace(example.decision.policy, sampled=2)),
        )
        for example in examples(150)
        if example.decision.choice.shown[0] != TEXTS.index("c")
    ]

    # Only a and b could come first; the candidate likes c best.
    assert offline(BETTER, sampled).detail["unsupported"] > 0.3


def test_models_are_compared_under_the_bound_that_held():
    bound = [
        replace(
            example,
            decision=replace(example.decision, policy=replace(example.decision.policy, max_fall=0)),
        )
        for example in examples(150)
        if not example.decision.choice.explored
    ]

    # Nothing could fall, so nothing can be better or worse: every step was forced.
    verdict = offline(BETTER, bound)
    assert (verdict.detail["unsupported"], verdict.estimate) == (0.0, 0.0)


def test_an_answer_counts_down_to_the_last_document_that_it_cites():
    (one,) = examples(1)
    shown = one.decision.choice.shown
    all_used = replace(one, used=3)

    assert all_used.reach == 3
    assert replace(all_used, cited=frozenset({int(shown[0])})).reach == 1
    assert replace(all_used, cited=frozenset(shown[:2].tolist())).reach == 2
    assert replace(one, cited=frozenset({int(shown[2])})).reach == 1  # it was not used


def test_the_gate_weighs_the_prefix_that_made_the_answer():
    used = [
        replace(each, used=3, cited=frozenset({int(each.decision.choice.shown[0])}))
        for each in examples(200)
    ]
    rng = np.random.default_rng(0)

    whole = evidence.gather(
        BETTER, CHAMPION, [replace(each, cited=frozenset()) for each in used], rng=rng
    )
    cited = evidence.gather(BETTER, CHAMPION, used, rng=rng)
    first = evidence.gather(BETTER, CHAMPION, [replace(each, used=1) for each in used], rng=rng)

    assert cited.log_candidate.tolist() == first.log_candidate.tolist()
    assert cited.log_propensity.tolist() == first.log_propensity.tolist()
    assert (cited.log_candidate > whole.log_candidate).all()


def test_wrong_propensities_are_found_out_by_weights_that_do_not_balance():
    right = examples(600)
    doubled = [
        replace(
            each,
            decision=replace(each.decision, policy=replace(each.decision.policy, epsilon=0.99)),
        )
        for each in right
    ]
    wrong = [
        replace(
            each,
            decision=replace(
                each.decision,
                choice=replace(
                    each.decision.choice,
                    cum_log_propensity=log_propensity(
                        each.decision.logits, each.decision.choice.shown, each.decision.policy
                    ),
                ),
            ),
        )
        for each in doubled
    ]

    assert "unbalanced" not in offline(BETTER, right).detail["doubts"]
    assert "unbalanced" in offline(BETTER, wrong).detail["doubts"]


def test_the_champion_is_not_scored_where_it_served():
    mute = replace(CHAMPION, worth={})

    verdict = gate.offline(BETTER, mute, examples(120), alpha=0.03, expected_gain=0.1, seed=0)

    assert verdict.n == 120


def test_a_planted_bad_model_passes_no_gate_in_thirty():
    passed = [offline(WORSE, examples(110, seed=seed)).answer is Answer.PASS for seed in range(30)]

    assert not any(passed)


def test_alpha_is_spent_over_rounds_and_candidates():
    assert gate.spent(0.05, round_number=1, candidates=1) == pytest.approx(6 * 0.05 / pi**2)
    assert gate.spent(0.05, round_number=3, candidates=2) == pytest.approx(6 * 0.05 / pi**2 / 9 / 2)
    rounds = (gate.spent(0.05, round_number=r, candidates=1) for r in range(1, 100_000))
    assert sum(rounds) == pytest.approx(0.05, abs=1e-5)


def test_a_golden_set_ranked_worse_is_refused():
    verdict = gate.golden(np.array([0.98, 0.96, 0.97]), np.ones(3))

    assert verdict.answer is Answer.REFUSE  # 3 % less
    assert verdict.estimate == pytest.approx(-0.03)
    # Student's t with two degrees of freedom, times .01 / sqrt 3.
    assert verdict.high == pytest.approx(-0.03 + 2.91999 * 0.0057735, abs=1e-6)
    assert verdict.detail == pytest.approx({"champion": 1.0, "candidate": 0.97})


def test_a_golden_set_may_be_ranked_one_percent_worse():
    assert gate.golden(np.full(3, 0.991), np.ones(3)).answer is Answer.PASS


def test_a_golden_set_may_be_ranked_worse_by_chance():
    # .03 less on average, and one query in three is all of it.
    assert gate.golden(np.array([1.0, 1.0, 0.91]), np.ones(3)).answer is Answer.PASS


def test_ndcg_looks_at_the_first_ten():
    logits = np.arange(12.0)[::-1]

    assert gate.ndcg(logits, [0.0] * 11 + [1.0]) == 0.0
    assert gate.ndcg(logits, [1.0] + [0.0] * 11) == 1.0
    assert gate.ndcg(logits, [0.0] * 12) == 1.0


@pytest.mark.parametrize(("agreement", "answer"), [(0.99, Answer.PASS), (0.98, Answer.REFUSE)])
def test_a_file_that_ranks_otherwise_than_torch_is_refused(agreement, answer):
    assert gate.parity(agreement).answer is answer
