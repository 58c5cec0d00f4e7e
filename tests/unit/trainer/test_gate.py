from dataclasses import dataclass, replace
from math import pi

import numpy as np
import pytest

from contract.records import Candidate
from tests import trainees
from trainer import gate
from trainer.gate import Answer, Judged


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
WORSE = Fake(worth={"a": 1.5, "b": 0.5, "c": -0.5})
JUDGED = [
    Judged(query="q", candidates=tuple(Candidate(text=text) for text in TEXTS), gains=(0, 0, 1))
]


class Logged(Fake):
    """The champion as a model to log with: `trainees.log` asks it like a reranker."""


def examples(n, *, seed=0, flipped=0.1):
    """Decisions of the champion's policy about three documents, rewarded where c came first, some flipped."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng(seed + 1_000)
    return [
        trainees.example(
            query=f"{seed}.{number}",
            documents=TEXTS,
            scores=CHAMPION.logits("", [Candidate(text=text) for text in TEXTS]),
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
    verdict = offline(WORSE, examples(1_500))

    assert verdict.answer is Answer.REFUSE
    assert verdict.reason.startswith("it is worse")


def test_the_champion_itself_is_not_enough_evidence_whatever_the_traffic():
    verdict = offline(replace(CHAMPION, version="copy"), examples(500))

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert "no number of queries would do" in verdict.reason


def test_a_small_gain_says_what_it_would_take():
    slight = Fake(worth={"a": 1.0, "b": 0.5, "c": 0.05})

    verdict = offline(slight, examples(450, seed=1, flipped=0.4), expected_gain=0.01)

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert verdict.detail["clusters_needed"] > 450


def test_few_queries_are_not_enough_evidence_however_clear():
    verdict = offline(BETTER, examples(99))

    assert verdict.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert verdict.detail["doubts"] == ["few_queries"]


def test_no_queries_at_all_are_not_enough_evidence():
    assert offline(BETTER, []).answer is Answer.NOT_ENOUGH_EVIDENCE


def test_a_model_far_from_what_was_shown_is_refused():
    distant = Fake(worth={"a": -30.0, "b": -15.0, "c": 0.0})

    verdict = offline(distant, examples(400))

    assert verdict.answer is Answer.REFUSE
    assert "few_effective" in verdict.detail["doubts"]


def test_rankings_that_could_never_be_shown_are_noticed():
    bound = [
        replace(
            example,
            decision=replace(example.decision, policy=replace(example.decision.policy, max_fall=0)),
        )
        for example in examples(150)
    ]

    # Nothing may fall: the log shows a before b before c alone, and the candidate's greedy order is another.
    assert offline(BETTER, bound).detail["unsupported"] == 1.0


def test_the_champion_is_not_scored_where_it_served():
    mute = replace(CHAMPION, worth={})

    verdict = gate.offline(BETTER, mute, examples(120), alpha=0.03, expected_gain=0.1, seed=0)

    assert verdict.n == 120


def test_a_planted_bad_model_passes_no_gate_in_thirty():
    passed = [offline(WORSE, examples(120, seed=seed)).answer is Answer.PASS for seed in range(30)]

    assert not any(passed)


def test_alpha_is_spent_over_rounds_and_candidates():
    assert gate.spent(0.05, round_number=1, candidates=1) == pytest.approx(6 * 0.05 / pi**2)
    assert gate.spent(0.05, round_number=3, candidates=2) == pytest.approx(6 * 0.05 / pi**2 / 9 / 2)
    rounds = (gate.spent(0.05, round_number=r, candidates=1) for r in range(1, 100_000))
    assert sum(rounds) == pytest.approx(0.05, abs=1e-5)


def test_a_golden_set_ranked_worse_is_refused():
    golden = gate.golden(CHAMPION, BETTER, JUDGED)

    # The only good document falls from rank 1 to rank 3: 1 / log2(4) = .5 of the ideal.
    assert golden.answer is Answer.REFUSE
    assert golden.detail == {"champion": 1.0, "candidate": 0.5}


def test_a_golden_set_ranked_as_well_passes():
    assert gate.golden(BETTER, BETTER, JUDGED).answer is Answer.PASS


def test_ndcg_looks_at_the_first_ten():
    logits = np.arange(12.0)[::-1]

    assert gate.ndcg(logits, [0.0] * 11 + [1.0]) == 0.0
    assert gate.ndcg(logits, [1.0] + [0.0] * 11) == 1.0
    assert gate.ndcg(logits, [0.0] * 12) == 1.0


@pytest.mark.parametrize(("agreement", "answer"), [(0.99, Answer.PASS), (0.98, Answer.REFUSE)])
def test_a_file_that_ranks_otherwise_than_torch_is_refused(agreement, answer):
    assert gate.parity(agreement).answer is answer
