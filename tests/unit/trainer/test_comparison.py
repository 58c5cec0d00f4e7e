from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from contract.records import Candidate
from tests import trainees
from trainer import comparison

DOCUMENTS = ["a", "b", "c"]
CHANGED, SAME = bytes([1]) * 32, bytes([2]) * 32
LAST = bytes([3]) * 32


@dataclass
class Liking:
    """Likes one document best, and the others as they come."""

    best: str
    version: str = "another"
    precision: str = "float32"
    temperature: float = 1.0

    def logits(self, query, candidates: Sequence[Candidate]):
        return np.array([float(each.text == self.best) for each in candidates])


def example(sha256, *, used=1):
    made = trainees.example(
        query="q",
        documents=DOCUMENTS,
        scores=np.zeros(3),
        reward=lambda _: 1.0,
        rng=np.random.default_rng(0),
        used=used,
    )
    return replace(made, query_sha256=sha256)


def pairs(examples, *, champion="a", candidate="b", most=10):
    return comparison.pairs(
        examples, champion=Liking(champion), candidate=Liking(candidate, "new"), most=most
    )


def test_both_orders_are_cut_where_the_prompt_ends():
    (pair,) = pairs([example(CHANGED, used=2)]).afforded

    assert (pair.champion, pair.candidate) == ((0, 1), (1, 0))
    assert pair.is_changed


def test_the_same_documents_are_no_pair_to_ask_for():
    found = pairs([example(CHANGED)], candidate="a")

    assert len(found.afforded) == 1
    assert found.changed == []


def test_of_each_query_the_newest_decision_is_played():
    old, new = example(CHANGED), example(CHANGED)

    (pair,) = pairs([new, old]).afforded

    assert pair.decision.id == max(old.decision.id, new.decision.id)


@pytest.mark.parametrize(("most", "asked"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_queries_are_taken_by_their_hash_until_the_budget_is_spent(most, asked):
    found = pairs([example(LAST), example(CHANGED), example(SAME)], most=most)

    assert [pair.cluster for pair in found.afforded] == [
        int.from_bytes(sha256[:7], "big") for sha256 in (CHANGED, SAME, LAST)[:asked]
    ]
    assert found.unasked == 3 - asked
