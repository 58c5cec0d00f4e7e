"""Scores do not depend on who else is asking: real sessions, batches of any composition."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.artifact import MANIFEST, Manifest
from service.batching import Batcher
from service.device import CPU, Runtime
from service.metrics import Metrics
from service.score import Scorer
from tests import models, serving

DOCUMENTS = st.lists(st.text("abc xyz,.", max_size=80), min_size=1, max_size=12)
REQUESTS = st.lists(st.tuples(st.text("qrs", min_size=1, max_size=9), DOCUMENTS), max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "version"
    models.make(folder, seed=5, precisions=("float32", "int8"))
    return folder


@pytest.fixture(scope="module", params=["float32", "int8"])
def scorer(folder: Path, request: Any) -> Scorer:
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    runtime = Runtime(provider=CPU, threads=1)
    return Scorer.load(folder, manifest, precision=request.param, runtime=runtime)


@pytest.fixture(scope="module")
def batcher() -> Iterator[Batcher]:
    with Batcher(Metrics(), budget_tokens=256) as batcher:
        yield batcher


@given(REQUESTS)
def test_every_score_is_what_the_pair_gets_alone(
    scorer: Scorer, batcher: Batcher, requests: list[tuple[str, list[str]]]
) -> None:
    async def one(query: str, documents: list[str]) -> NDArray[np.float64]:
        pairs = scorer.tokenizer.pairs(query, documents)
        rows = np.zeros((len(pairs), 3), dtype=np.float32)
        return (await batcher.score(scorer, pairs, first_stage=rows)).logits

    async def together() -> list[NDArray[np.float64]]:
        return await asyncio.gather(*(one(*each) for each in requests))

    found = asyncio.run(together())

    alone = [[asyncio.run(one(query, [text]))[0] for text in texts] for query, texts in requests]
    for batched, single in zip(found, alone, strict=True):
        assert batched == pytest.approx(single, abs=1e-5)


async def test_one_large_request_and_many_small_ones_are_all_answered(
    folder: Path, tmp_path: Path
) -> None:
    settings = serving.settings(tmp_path, service_epsilon=0.0, service_batch_tokens=128)
    async with serving.running(settings) as service:
        service.place(folder)
        many = [f"document {number}" for number in range(900)]

        large = asyncio.create_task(service.rerank(many, "large"))
        others = [asyncio.create_task(service.rerank(many[:10], f"q{i}")) for i in range(20)]
        first, _ = await asyncio.wait([large, *others], return_when=asyncio.FIRST_COMPLETED)
        assert large not in first
        body, *small = await asyncio.gather(large, *others)

        assert len(body["results"]) == 900
        alone = await service.rerank(many[:10], "q7")
        assert [each["index"] for each in alone["results"]] == [
            each["index"] for each in small[7]["results"]
        ]


async def test_too_much_at_once_is_refused_and_the_rest_answered(
    folder: Path, tmp_path: Path
) -> None:
    settings = serving.settings(tmp_path, service_max_queued_tokens=600)
    async with serving.running(settings) as service:
        service.place(folder)
        body = {"query": "q", "documents": [f"the document of number {i}" for i in range(20)]}

        responses = await asyncio.gather(
            *(service.client.post("/v1/rerank", json=body) for _ in range(20))
        )

        statuses = sorted(response.status_code for response in responses)
        assert set(statuses) == {200, 429}
        assert all(
            int(response.headers["retry-after"]) >= 1
            for response in responses
            if response.status_code == 429
        )
        assert service.metric("rankloop_overloaded_total") == statuses.count(429)
        assert service.metric("rankloop_queued_tokens") == 0


async def test_what_comes_too_late_for_its_proxy_is_refused_and_the_rest_answered(
    folder: Path, tmp_path: Path
) -> None:
    async with serving.running(serving.settings(tmp_path)) as service:
        service.place(folder)
        # Now it knows how long it takes.
        await service.rerank(["d"])
        large = asyncio.create_task(service.rerank([f"document {i}" for i in range(900)]))
        await serving.until(lambda: service.metric("rankloop_queued_tokens") > 0)

        late, small = await asyncio.gather(
            *(
                service.client.post(
                    "/v1/rerank",
                    json={"query": "q", "documents": ["d"]},
                    headers={"x-envoy-expected-rq-timeout-ms": milliseconds},
                )
                for milliseconds in ("1", "60000")
            )
        )

        assert (late.status_code, small.status_code) == (429, 200)
        assert len((await large)["results"]) == 900
