import hashlib
from dataclasses import replace

import numpy as np
import pytest

from contract.records import Source
from tests import trainees
from trainer import agreement, steps
from trainer.agreement import believed, suspects
from trainer.examples import Origin

SOURCES = 40
DOCUMENTS = 400
QUERIES = 300


def origin(number, *, tenant="default"):
    return Origin(tenant, Source.END_USER, f"user-{number:02}")


def asked(rng, *, decisions, documents=DOCUMENTS):
    """Decisions about two of many documents, of which the first that is shown is used, each of a random source."""
    return [
        replace(
            trainees.example(
                query=f"query {rng.integers(QUERIES)}",
                documents=[
                    f"document {number}" for number in rng.choice(documents, 2, replace=False)
                ],
                scores=np.zeros(2),
                reward=lambda _: 0.0,
                rng=rng,
            ),
            origins=frozenset([origin(rng.integers(SOURCES))]),
        )
        for _ in range(decisions)
    ]


def the_mean(examples):
    """What to expect where nothing is known before acting, as here; what the ridge regression comes to, only sooner."""
    return np.full(len(examples), np.mean([example.reward for example in examples]))


def used(example):
    return example.decision.candidates[example.decision.choice.shown[0]].text


def rewarded(examples, rng, *, good=0.9, bad=0.1, flipped=(), sloppy=()):
    """Half of the documents are good, by hash; `flipped` sources say the opposite, `sloppy` ones now and then."""
    told = []
    for example in examples:
        is_good = hashlib.sha256(used(example).encode()).digest()[0] % 2
        reward = float(rng.random() < (good if is_good else bad))
        if example.origins & set(sloppy) and rng.random() < 0.25:
            reward = 1 - reward  # .9 * .75 + .1 * .25 = .7
        told.append(
            replace(example, reward=1 - reward if example.origins & set(flipped) else reward)
        )
    return told


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_sources_that_flip_their_rewards_are_found_and_no_others(share):
    rng = np.random.default_rng(1)
    flipped = {origin(number) for number in range(round(share * SOURCES))}
    examples = rewarded(asked(rng, decisions=3_000), rng, flipped=flipped)

    found = {each.origin for each in suspects(examples)}

    # 75 rewards each, every document judged 7 times, one reward in ten wrong.
    assert found == flipped


@pytest.mark.parametrize(
    ("good", "bad"),
    [(0.9, 0.1), (0.6, 0.4), (0.5, 0.5), (0.9, 0.9), (0.1, 0.1)],
    ids=["apart", "close", "alike", "all good", "all bad"],
)
def test_honest_sources_are_suspected_in_less_than_one_round_of_a_hundred(good, bad, monkeypatch):
    monkeypatch.setattr(steps, "expected", the_mean)
    rng = np.random.default_rng(2)
    examples = asked(rng, decisions=1_000)

    rounds = [bool(suspects(rewarded(examples, rng, good=good, bad=bad))) for _ in range(100)]

    # 25 rewards each. Were the rate .01, two or more of 100 would come up once in four times.
    assert sum(rounds) <= 1


def test_an_honest_source_that_is_often_wrong_is_suspected_in_less_than_one_round_of_a_hundred(
    monkeypatch,
):
    monkeypatch.setattr(steps, "expected", the_mean)
    rng = np.random.default_rng(3)
    examples = asked(rng, decisions=1_000)
    sloppy = [origin(number) for number in range(10)]

    found = [suspects(rewarded(examples, rng, sloppy=sloppy)) for _ in range(100)]

    # Three of its rewards in ten are wrong, where others have one. 100 rounds with ten of them: 1 % is 10.
    assert sum(map(len, found)) <= 10


def test_a_harsh_source_is_not_suspected():
    rng = np.random.default_rng(4)
    examples = [
        replace(each, reward=0.0) if origin(0) in each.origins else each
        for each in rewarded(asked(rng, decisions=3_000), rng)
    ]

    assert suspects(examples) == []


def test_fewer_than_twenty_rewards_show_nothing():
    rng = np.random.default_rng(5)
    examples = rewarded(asked(rng, decisions=3_000), rng, flipped=[origin(0)])
    of_it = [each for each in examples if origin(0) in each.origins]
    others = [each for each in examples if origin(0) not in each.origins]

    assert suspects([*others, *of_it[:19]]) == []


def test_a_source_that_is_alone_has_nobody_to_disagree_with():
    rng = np.random.default_rng(6)
    examples = [
        replace(each, origins=frozenset([origin(0)]))
        for each in rewarded(asked(rng, decisions=500), rng)
    ]

    assert suspects(examples) == []
    assert suspects([]) == []


def test_documents_that_nobody_else_judged_show_nothing():
    rng = np.random.default_rng(7)
    examples = rewarded(asked(rng, decisions=300, documents=1_000_000), rng, flipped=[origin(0)])

    assert suspects(examples) == []


def test_the_same_name_in_another_tenant_is_another_source():
    rng = np.random.default_rng(8)
    examples = rewarded(asked(rng, decisions=3_000), rng, flipped=[origin(0)])
    of_acme = [
        replace(each, origins=frozenset([origin(0, tenant="acme")]))
        for each in examples
        if origin(1) in each.origins
    ]
    others = [each for each in examples if origin(1) not in each.origins]

    found = suspects([*others, *of_acme])

    assert [each.origin for each in found] == [origin(0)]


def test_what_is_suspected_is_left_out_and_its_reason_is_told():
    rng = np.random.default_rng(9)
    examples = rewarded(asked(rng, decisions=3_000), rng, flipped=[origin(0)])
    found = suspects(examples)

    kept = believed(examples, found)

    (suspect,) = found
    assert {origin(0)} | {one for each in kept for one in each.origins} == {
        origin(number) for number in range(SOURCES)
    }
    assert len(kept) == sum(origin(0) not in each.origins for each in examples)
    assert suspect.slope < 0 < suspect.others
    said = suspect.to_json()
    assert (said["tenant"], said["type"], said["id"]) == ("default", "END_USER", "user-00")
    assert said["reason"].startswith(
        f"its rewards go against what others say of the same documents: slope {suspect.slope:+.2f}"
    )


def test_what_the_others_say_is_their_surprises_over_their_number_and_two():
    rng = np.random.default_rng(10)
    examples = [
        replace(
            each,
            query_sha256=hashlib.sha256(str(number).encode()).digest(),
            origins=frozenset([origin(number % 2)]),
            reward=float(used(each) == "document 0") if number % 2 else float(rng.random()),
        )
        for number, each in enumerate(asked(rng, decisions=80, documents=2))
    ]

    table = agreement._Table.of(examples)
    first, second = agreement._records(table, without=set())

    surprise = table.surprise_B[1::2]
    of_zero = np.array([used(each) == "document 0" for each in examples[1::2]])
    asked_of_zero = np.array([used(each) == "document 0" for each in examples[::2]])
    assert first.others_R[asked_of_zero] == pytest.approx(
        surprise[of_zero].sum() / (of_zero.sum() + 2)
    )
    assert second.surprise_R == pytest.approx(surprise - surprise.mean())
