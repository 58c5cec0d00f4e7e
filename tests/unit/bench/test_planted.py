import json
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import pytest
import torch

from bench.learning import bad_files, bad_logs, bad_models, planted
from bench.learning.ground import Known, Leaning, values, wrong
from bench.learning.planted import Row
from bench.learning.worlds import Question, World
from contract.policy import Policy, choose, log_propensity
from contract.records import Candidate, Decision
from trainer.estimators import mean
from trainer.examples import Example, propensities_recompute
from trainer.gate import Answer, Kind, Verdict

LOGITS = np.array([2.0, 1.0, 0.0])
TEXTS = tuple(Candidate(text=text) for text in ("long enough", "short", "wrong"))


@dataclass(kw_only=True)
class Fixed:
    """The same logits for whatever is asked."""

    scores: np.ndarray
    version: str = "fixed"
    precision: str = "float32"
    temperature: float = 1.0
    asked: int = 0

    def logits(self, query, candidates):
        self.asked += 1
        return self.scores


def rng():
    return np.random.default_rng(3)


def example(number=0, *, reward=1.0, query=b"q"):
    policy = Policy(epsilon=0.9, temperature=1.0)
    return Example(
        decision=Decision(
            id=UUID(int=number),
            tenant="bench",
            line="default",
            query="How long?",
            candidates=TEXTS,
            logits=LOGITS,
            policy=policy,
            choice=choose(LOGITS, policy, np.random.default_rng(number), top_n=2),
            version="fixed",
            epoch=0,
            precision="float32",
        ),
        used=2,
        reward=reward,
        credits={},
        cited=frozenset(),
        query_sha256=query,
        fresh=True,
    )


def spoilt(spoil, examples, candidate=None):
    return spoil(examples, candidate or Fixed(scores=LOGITS), rng())


def test_a_leaning_version_adds_so_much_of_something_else():
    leaning = Leaning(
        version="long",
        base=Fixed(scores=LOGITS),
        own=0.5,
        lean=bad_models.by_length,
        strength=10.0,
    )

    # Half of the logits, and 10 for each hundred characters.
    assert leaning.logits("How long?", TEXTS) == pytest.approx([1 + 1.1, 0.5 + 0.5, 0 + 0.5])


def test_a_version_is_asked_once_about_each_query():
    source = Fixed(scores=LOGITS)
    known = Known(source=source)

    for query in ("one", "one", "two"):
        known.logits(query, TEXTS)

    assert source.asked == 2


def test_what_a_version_is_worth_is_the_reward_of_its_greedy_orders():
    question = Question(
        id="q",
        query="How long?",
        candidates=TEXTS,
        worth=(None, 1.0, 0.0),
        gold=frozenset([1]),
        cluster="c",
    )
    world = World(name="small", train=(question,), held_out=(), used=2, discounted=False)

    # The first text is passed over: the answer is made of whatever comes next.
    assert values(world, Fixed(scores=np.array([2.0, 1.0, 0.0]))).tolist() == [1.0]
    assert values(world, Fixed(scores=np.array([2.0, 0.0, 1.0]))).tolist() == [0.0]
    assert wrong(question) == [2]


def test_a_step_goes_so_many_times_as_far():
    start, end = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([1.5, 2.0])}

    assert bad_models.stepped(start, end, 100.0)["w"].tolist() == [51.0, 2.0]


def test_noise_is_a_share_of_what_the_weights_vary():
    weights = torch.linspace(-1, 1, 10_000)

    added = bad_models.noisy(weights, 0.1, rng()) - weights

    # 10,000 draws: the standard error of a deviation is .7 % of it.
    assert float(added.std()) == pytest.approx(0.1 * float(weights.std()), rel=0.03)


def test_chance_says_the_same_of_the_same_request():
    lean = bad_models.by_chance(1)

    assert lean("one", TEXTS).tolist() == lean("one", TEXTS).tolist()
    assert lean("one", TEXTS).tolist() != lean("two", TEXTS).tolist()


def test_a_sound_log_is_read_and_one_with_scaled_propensities_is_not():
    examples = [example(number) for number in range(20)]

    assert not bad_logs.is_quarantined(spoilt(bad_logs.sound, examples))
    assert bad_logs.is_quarantined(spoilt(bad_logs.scaled(0.5), examples))


def test_a_wrong_temperature_that_is_logged_recomputes():
    (hotter,) = spoilt(bad_logs.hotter(2.0), [example()])

    decision = hotter.decision
    assert decision.policy.temperature == 2.0
    assert propensities_recompute(decision)
    assert decision.choice.shown.tolist() == example().decision.choice.shown.tolist()


def test_the_propensities_of_another_model_recompute_and_are_not_the_true_ones():
    other = Fixed(scores=LOGITS[::-1])

    (told,) = spoilt(bad_logs.of_another(other), [example()])

    choice, policy = example().decision.choice, example().decision.policy
    expected = log_propensity(LOGITS[::-1], choice.shown, policy)
    assert told.decision.choice.cum_log_propensity == pytest.approx(expected)
    assert propensities_recompute(told.decision)
    assert not np.allclose(expected, choice.cum_log_propensity)


def test_a_poisoner_praises_what_the_candidate_would_show_first():
    candidate = Fixed(scores=LOGITS[::-1])

    told = spoilt(bad_logs.poisoned(1.0), [example(number) for number in range(40)], candidate)

    assert {each.decision.tenant for each in told} == {"poisoner"}
    assert all(each.reward == float(each.decision.choice.shown[0] == 2) for each in told)
    assert all(each.cited == {int(each.decision.choice.shown[0])} for each in told)


def test_a_poisoner_has_about_its_share():
    told = spoilt(bad_logs.poisoned(0.1), [example(number) for number in range(2_000)])

    # 2,000 coins: a standard error of .7 %.
    share = np.mean([each.decision.tenant == "poisoner" for each in told])
    assert share == pytest.approx(0.1, abs=0.02)


def test_low_rewards_are_lost_and_high_ones_are_not():
    examples = [example(number, reward=float(number % 2)) for number in range(10)]

    told = spoilt(bad_logs.only_high(1.0), examples)

    assert [each.reward for each in told] == [1.0] * 5


def test_rows_that_are_repeated_count_as_one_query():
    examples = [example(number, query=bytes([number])) for number in range(4)]

    told = spoilt(bad_logs.repeated(3), examples)

    once, thrice = (
        mean(
            np.array([float(each.decision.id.int) for each in some]),
            np.array([each.query_sha256[0] for each in some]),
        )
        for some in (examples, told)
    )
    assert len(told) == 12
    assert thrice.clusters == once.clusters == 4
    assert thrice.standard_error == pytest.approx(once.standard_error)


def test_few_queries_have_as_many_rows():
    examples = [example(number, query=bytes([number % 5])) for number in range(20)]

    told = spoilt(bad_logs.few(2), examples)

    assert len(told) == 20
    assert {each.query_sha256 for each in told} == {b"\0", b"\1"}


def test_a_stale_vocabulary_is_a_permutation_that_is_one_behind():
    words = {f"word {number}": number for number in range(bad_files.NEW_WORD + 3)}

    stale = bad_files.one_behind(words)

    new = bad_files.NEW_WORD
    assert sorted(stale.values()) == sorted(words.values())
    assert stale["word 5"] == 5
    assert stale[f"word {new + 1}"] == new
    assert stale[f"word {new}"] == new + 2


def test_one_bit_is_flipped(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(100))

    bad_files.flip_a_bit(path, seed=1)

    assert sum(byte.bit_count() for byte in path.read_bytes()) == 1


def verdict(kind, answer):
    return Verdict(kind=kind, estimator="e", answer=answer, reason=f"says {kind}")


@pytest.mark.parametrize(
    ("golden", "offline", "replayed", "quarantined", "ended"),
    [
        (Answer.REFUSE, Answer.PASS, Answer.PASS, False, ("refuse", "golden")),
        (Answer.PASS, Answer.REFUSE, Answer.REFUSE, False, ("refuse", "offline")),
        (Answer.PASS, Answer.REFUSE, Answer.PASS, False, ("promoted", "replay")),
        (Answer.PASS, Answer.PASS, Answer.REFUSE, False, ("promoted", "offline")),
        (Answer.PASS, Answer.PASS, Answer.REFUSE, True, ("refuse", "read")),
    ],
)
def test_a_candidate_is_promoted_if_either_judge_lets_it_through(
    golden, offline, replayed, quarantined, ended
):
    found = planted.ended(
        verdict(Kind.GOLDEN, golden),
        verdict(Kind.OFFLINE, offline),
        verdict(Kind.REPLAY, replayed),
        quarantined=quarantined,
    )

    assert found[:2] == ended


def row(verdict, **answers):
    return Row(
        candidate="c",
        kind="k",
        verdict=verdict,
        stage="offline",
        reason="r",
        truth=-0.02,
        answers=answers,
    )


def test_promotions_are_counted_and_what_each_judge_alone_would_have_let_through():
    rows = [row("promoted", offline="pass", replay="pass"), row("refuse", offline="pass")]

    told = planted.summed([*rows, replace(rows[1], kind="other", answers={})])

    assert (told["candidates"], told["kinds"], told["promoted"]) == (3, 2, 1)
    assert told["verdicts"] == {"promoted": 1, "refuse": 2}
    assert (told["passed_the_log_alone"], told["passed_the_replay_alone"]) == (2, 1)
    assert json.loads(json.dumps(told)) == told
