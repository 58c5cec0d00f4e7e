import json

import numpy as np

from contract.records import Candidate
from trainer import golden, reference
from trainer.gate import Judged
from trainer.golden import ANSWER, CANDIDATES, GoldenSet

JUDGED = (
    Judged(query="q", candidates=(Candidate(text="a"), Candidate(text="b")), gains=(1.0, 0.0)),
)


class Counting:
    """A version that puts the second text first, and counts how often it is asked."""

    precision = "float32"
    temperature = 1.0

    def __init__(self, version):
        self.version = version
        self.asked = 0

    def logits(self, _query, candidates):
        self.asked += 1
        return np.arange(float(len(candidates)))


def test_a_version_is_asked_once_and_its_ndcg_remembered():
    judged, served = GoldenSet(JUDGED), Counting("champion")

    first, second = judged.ndcg(served), judged.ndcg(served)

    assert first.tolist() == second.tolist() == [1 / np.log2(3)]  # the good one is second
    assert served.asked == 1


def test_only_the_last_few_versions_are_remembered():
    judged, oldest = GoldenSet(JUDGED), Counting("oldest")
    judged.ndcg(oldest)
    for number in range(golden.REMEMBERED):
        judged.ndcg(Counting(str(number)))

    judged.ndcg(oldest)

    assert oldest.asked == 2


def test_every_question_of_the_shipped_set_can_be_answered_by_a_better_order():
    judged = golden.judged()

    assert len(judged) >= 60
    assert all(len(each.candidates) == CANDIDATES for each in judged)
    assert all(each.gains.count(ANSWER) == 1 for each in judged)
    # BM25 puts many answers behind other texts: there is something to rank.
    assert np.mean([each.gains[0] == ANSWER for each in judged]) < 0.5


def test_the_shipped_set_shares_no_text_with_the_reference_lists():
    def texts(path):
        topics = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {text for topic in topics for text in (*topic["queries"], *topic["documents"])}

    assert not texts(golden.FILE) & texts(reference.FILE)


def test_no_text_of_the_shipped_set_comes_twice():
    topics = [json.loads(line) for line in golden.FILE.read_text(encoding="utf-8").splitlines()]
    for kind in ("queries", "documents"):
        every = [text for topic in topics for text in topic[kind]]
        assert len(every) == len(set(every))
