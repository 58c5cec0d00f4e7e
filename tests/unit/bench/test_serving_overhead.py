from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from bench.serving import overhead, quality, tables
from bench.serving.overhead import INFERENCE, REQUEST, Idle
from bench.serving.quality import Asked, Compared
from contract.records import Candidate
from contract.tokens import Pair
from service.metrics import Metrics

SCORER: Any = SimpleNamespace(
    one_by_one=False, packed=False, manifest=SimpleNamespace(pad_id=0, token_type_ids=False)
)
IDLE = Idle(whole=0.050, inside=0.048, inference=0.042, tokens=0.002, bare=0.041)


def pair(length: int) -> Pair:
    ids = np.full(length, 7)
    return Pair(ids=ids, type_ids=np.zeros_like(ids), truncated=False)


def test_the_bare_model_runs_what_the_service_would_make_of_requests_that_come_together():
    requests = [[pair(10)], [pair(9)], [pair(2)]]

    found = list(overhead.batches_of(SCORER, requests, budget_tokens=20))

    # Two of ten tokens fit: the first request's, and the second's as company; the third is too short for that.
    assert [each["attention_mask"].sum(1).tolist() for each in found] == [[10, 9], [2]]
    assert [each["first_stage"].shape for each in found] == [(2, 3), (1, 3)]
    assert "token_type_ids" not in found[0]


def test_where_the_added_time_goes_adds_up_to_it():
    assert sum(IDLE.parts().values()) == pytest.approx(IDLE.whole - IDLE.bare)


def test_an_idle_service_is_told_in_milliseconds():
    found = overhead.summary([IDLE] * 3)

    assert (found["service_ms"], found["bare_ms"], found["added_ms"]) == (50.0, 41.0, 9.0)
    assert found["added_ms_95"] == [9.0, 9.0]
    assert found["parts_ms"]["tokens"] == 2.0


def test_the_table_tells_the_share_and_what_was_added():
    rates = {"service_documents_per_s": 95.0, "bare_documents_per_s": 100.0}
    throughput = {**rates, "share": 0.95, "share_95": [0.94, 0.96]}
    found = {"precision": "int8", "throughput": throughput, "idle": overhead.summary([IDLE])}

    share, added = map(tables.markdown, tables.overhead(found))

    assert "| int8 | 95.0 | 100.0 | 0.95 | 0.94 to 0.96 |" in share
    assert "| added (9.0 to 9.0) | 9.0 |" in added


def test_seconds_are_those_of_reranking_alone():
    metrics = Metrics()
    metrics.request_s.labels("/v1/rerank").observe(0.5)
    metrics.request_s.labels("/metrics").observe(8.0)
    metrics.inference_s.observe(0.25)

    assert overhead.sums(generate_latest(metrics.registry).decode()) == {
        REQUEST: 0.5,
        INFERENCE: 0.25,
    }


def test_both_precisions_are_judged_by_the_same_question():
    asked = Asked(
        query="q", candidates=[Candidate(text="a"), Candidate(text="b")], gains=[1.0, 0.0]
    )

    found = quality.compared(asked, np.array([2.0, 1.0]), np.array([1.0, 2.0]))

    # The relevant one comes second: 1 / log2(3).
    assert (found.overlap, found.exact) == (1.0, 1.0)
    assert found.rough == pytest.approx(1 / np.log2(3))


def test_quality_is_a_mean_over_questions():
    found = quality.summary(
        [
            Compared(overlap=1.0, exact=1.0, rough=0.8),
            Compared(overlap=0.9, exact=0.5, rough=0.5),
        ]
    )

    assert (found["questions"], found["top10_overlap"]) == (2, 0.95)
    assert (found["ndcg10_float32"], found["ndcg10_int8"], found["ndcg10_change"]) == (
        0.75,
        0.65,
        -0.1,
    )
    (table,) = tables.quality(found)
    assert "| overlap of the first ten | 0.95 | 0.9 to 1.0 |" in tables.markdown(table)
