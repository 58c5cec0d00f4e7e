"""Answers found in the spans that tracing tools send: OpenInference's words and OpenTelemetry's, JSON and protobuf."""

import asyncio
import gzip
import json
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from contract.policy import Choice, log_propensity
from contract.records import Decision
from rankloop.integrations import reading
from service import aside, trace_memory, traces, tracing
from tests.integration.conftest import Memory, a_decision

QUERY = "How long is the warranty?"
SHOWN = ["Two years.", "One year.", "Ask us."]  # positions 2, 0, 1
RETRIEVED = ["One year.", "Ask us.", "Two years."]  # positions 0, 1, 2
PROMPT = "Answer from these.\n[1] Two years.\n[2] One year.\nHow long is the warranty?"
ANSWER = "It is two years [1]."

Said = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A request to an app: it reranks from 2 s to 2.5 s after its beginning, and asks its LLM from 3 s to 3.5 s."""

    id: str
    began: datetime

    def at(self, seconds: float) -> datetime:
        return self.began + timedelta(seconds=seconds)

    def nanoseconds(self, seconds: float) -> str:
        return str(round(self.at(seconds).timestamp() * 1000) * 1_000_000)


def a_trace(*, later_s: float = 0.0) -> Trace:
    return Trace(id=uuid4().hex, began=datetime.now(UTC) - timedelta(seconds=20 - later_s))


def span(number: int, said: Said, *, trace: Trace, parent: int | None = 1, **more: Any) -> Said:
    """The spans of a trace begin one second after another and take half of one."""
    return {
        "traceId": trace.id,
        "spanId": f"{number:016x}",
        **({} if parent is None else {"parentSpanId": f"{parent:016x}"}),
        "name": "span",
        "startTimeUnixNano": trace.nanoseconds(number),
        "endTimeUnixNano": trace.nanoseconds(number + 0.5),
        "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in said.items()],
        **more,
    }


def root(trace: Trace) -> Said:
    return span(1, {"openinference.span.kind": "CHAIN"}, trace=trace, parent=None)


def served(trace: Trace) -> Said:
    """The span of the server that took the request, behind a gateway of its own."""
    return span(5, {"http.route": "/ask"}, trace=trace, parent=6, kind="SPAN_KIND_SERVER")


def reranked(trace: Trace, said: Said | None = None, *, number: int = 2) -> Said:
    documents = {
        f"reranker.output_documents.{place}.document.content": text
        for place, text in enumerate(SHOWN)
    }
    kind = {"openinference.span.kind": "RERANKER", "reranker.query": QUERY}
    return span(number, kind | documents | (said or {}), trace=trace)


def retrieved(trace: Trace, texts: list[str], *, number: int = 2) -> Said:
    documents = {
        f"retrieval.documents.{place}.document.content": text for place, text in enumerate(texts)
    }
    kind = {"openinference.span.kind": "RETRIEVER", "input.value": QUERY}
    return span(number, kind | documents, trace=trace)


def openinference(trace: Trace, answer: str = ANSWER, *, number: int = 3) -> Said:
    said = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "my-reader",
        "llm.input_messages.0.message.content": PROMPT,
        "llm.output_messages.0.message.content": answer,
    }
    return span(number, said, trace=trace)


def genai(trace: Trace) -> Said:
    def messages(role: str, text: str) -> str:
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])

    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "my-reader",
        "gen_ai.input.messages": messages("user", PROMPT),
        "gen_ai.output.messages": messages("assistant", ANSWER),
    }
    return span(3, said, trace=trace)


def legacy_genai(trace: Trace) -> Said:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "my-reader",
        "gen_ai.prompt.0.content": PROMPT,
        "gen_ai.completion.0.content": ANSWER,
    }
    return span(3, said, trace=trace)


def export(*spans: Said) -> Said:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def protobuf(*spans: Said) -> bytes:
    """As exporters encode it: ids are 16 and 8 bytes, which protobuf's own JSON writes in base64."""
    names = ("traceId", "spanId", "parentSpanId")
    packed = [
        each
        | {name: b64encode(bytes.fromhex(each[name])).decode() for name in names if name in each}
        for each in spans
    ]
    return json_format.ParseDict(export(*packed), ExportTraceServiceRequest()).SerializeToString()


async def send(memory: Memory, *spans: Said) -> int:
    """How many answers they completed."""
    reply = await memory.client.post("/v1/traces", json=export(*spans))
    assert reply.status_code == 200, reply.text
    assert reply.json() == {}
    return int(reply.headers["X-Rankloop-Answers"])


async def decided(memory: Memory, trace: Trace, *, at_s: float = 2.4, **changes: Any) -> Decision:
    """A decision of so many seconds after the trace's beginning."""
    return await memory.decide(id=memory.mint(trace.at(at_s)), **changes)


def shown_as(*positions: int) -> Choice:
    """The choice of the decision that shows them in this order."""
    like, shown = a_decision(id=uuid4()), np.array(positions)
    return Choice(
        shown=shown,
        cum_log_propensity=log_propensity(like.logits, shown, like.policy),
        explored=True,
    )


async def answer_of(memory: Memory, decision: Decision) -> Any:
    return (await memory.client.get(f"/v1/decisions/{decision.id}")).json()["answer"]


async def text_of(memory: Memory, decision: Decision) -> str | None:
    answer = await answer_of(memory, decision)
    return None if answer is None else answer["text"]


async def waiting(memory: Memory, trace: Trace) -> dict[str, str]:
    """What Redis keeps of the trace's texts."""
    key = f"{{rankloop:traced:{memory.name}:{trace.id}}}:waiting"
    return {str(name): str(text) for name, text in (await memory.redis.hgetall(key)).items()}


@pytest.fixture
def trace() -> Trace:
    return a_trace()


@pytest.mark.parametrize("said", [openinference, genai, legacy_genai])
async def test_a_trace_answers_the_decision_that_it_ranked(memory: Memory, trace: Trace, said: Any):
    decision = await decided(memory, trace)

    assert await send(memory, reranked(trace), said(trace), root(trace)) == 1

    answer = await answer_of(memory, decision)
    assert answer["used"] == [2, 0]
    assert answer["citations"] == [2]
    assert answer["text"] == ANSWER
    assert answer["model"] == "my-reader"
    assert answer["latency_ms"] == 500.0


async def test_spans_may_come_one_by_one_and_the_end_first(memory: Memory, trace: Trace):
    decision = await decided(memory, trace)
    spans = [root(trace), openinference(trace), reranked(trace)]

    assert [await send(memory, each) for each in spans] == [0, 0, 1]
    assert (await answer_of(memory, decision))["used"] == [2, 0]


async def test_a_retriever_that_hands_on_the_ranking_will_do(memory: Memory, trace: Trace):
    await decided(memory, trace)

    assert await send(memory, retrieved(trace, SHOWN), openinference(trace), root(trace)) == 1


async def test_what_a_retriever_found_is_not_what_another_was_shown(memory: Memory, trace: Trace):
    theirs = await decided(memory, trace)
    spans = (retrieved(trace, RETRIEVED), openinference(trace), root(trace))

    assert await send(memory, *spans) == 0
    assert await answer_of(memory, theirs) is None


async def test_what_was_ranked_is_no_ranking_of_its_own(memory: Memory, trace: Trace):
    # The reranker agreed with the retriever, and another user was just shown the same.
    theirs = await decided(memory, trace, at_s=1.4, choice=shown_as(0, 1, 2))
    ours = await decided(memory, trace)
    before = retrieved(trace, RETRIEVED, number=1)

    assert await send(memory, before, reranked(trace), openinference(trace), served(trace)) == 1

    assert await text_of(memory, ours) == ANSWER
    assert await answer_of(memory, theirs) is None


async def test_an_id_on_the_span_says_which_of_two_equal_decisions_it_was(
    memory: Memory, trace: Trace
):
    first, second = await decided(memory, trace), await decided(memory, trace)
    spans = (
        reranked(trace, {"rankloop.decision_id": str(first.id)}),
        openinference(trace),
        root(trace),
    )

    assert await send(memory, *spans) == 1

    assert await text_of(memory, first) == ANSWER
    assert await answer_of(memory, second) is None


async def test_the_same_trace_again_changes_nothing_and_counts_nothing(
    memory: Memory, trace: Trace
):
    decision = await decided(memory, trace)
    spans = (reranked(trace), openinference(trace), root(trace))

    assert [await send(memory, *spans) for _ in range(2)] == [1, 0]
    assert await text_of(memory, decision) == ANSWER


async def test_the_same_export_twice_at_once_is_one_answer(memory: Memory, trace: Trace):
    await decided(memory, trace)
    spans = (reranked(trace), openinference(trace), root(trace))

    counts = await asyncio.gather(*(send(memory, *spans) for _ in range(2)))

    assert sum(counts) == 1


async def test_a_root_that_comes_late_answers_nobody_elses_decision(memory: Memory, trace: Trace):
    ours = await decided(memory, trace)
    theirs = await decided(memory, trace, at_s=5.0)
    whole = (reranked(trace), openinference(trace), served(trace))

    assert await send(memory, *whole) == 1
    assert await send(memory, root(trace)) == 0
    assert await send(memory, *whole, root(trace)) == 0

    assert await text_of(memory, ours) == ANSWER
    assert await answer_of(memory, theirs) is None


async def test_a_trace_whose_decision_was_answered_before_answers_no_other(
    memory: Memory, trace: Trace
):
    ours, theirs = await decided(memory, trace), await decided(memory, trace, at_s=2.2)
    posted = {"used_k": 1, "text": "Two years, says the app itself."}
    await memory.client.post(f"/v1/decisions/{ours.id}/answer", json=posted)

    assert await send(memory, reranked(trace), openinference(trace), root(trace)) == 0

    assert await text_of(memory, ours) == posted["text"]
    assert await answer_of(memory, theirs) is None


@pytest.mark.parametrize("first", [0, 1])
async def test_askers_at_the_same_time_get_each_their_own_answer(memory: Memory, first: int):
    # The calls overlap from 2.2 s to 2.5 s; what the one was shown was decided at 2.4 s, for the other at 2.6 s.
    one, other = a_trace(), a_trace(later_s=0.2)
    decisions = [await decided(memory, one), await decided(memory, other)]
    exports = [
        (reranked(trace), openinference(trace, f"Two years, {name}."), root(trace))
        for trace, name in ((one, "one"), (other, "other"))
    ]

    counts = [await send(memory, *exports[place]) for place in (first, 1 - first)]

    assert counts == [1, 1]
    assert [await text_of(memory, each) for each in decisions] == [
        "Two years, one.",
        "Two years, other.",
    ]


async def test_what_was_shown_in_the_same_order_is_meant(memory: Memory, trace: Trace):
    theirs = await decided(memory, trace, at_s=2.45, choice=shown_as(0, 2, 1))
    ours = await decided(memory, trace, at_s=2.35)

    await send(memory, reranked(trace), openinference(trace), root(trace))

    assert await text_of(memory, ours) == ANSWER
    assert await answer_of(memory, theirs) is None


async def test_two_traces_never_share_a_decision(memory: Memory, trace: Trace):
    twin = Trace(id=uuid4().hex, began=trace.began)
    earlier, later = [await decided(memory, trace, at_s=at_s) for at_s in (2.3, 2.4)]
    for each, answer in ((trace, "Two years, one."), (twin, "Two years, twin.")):
        await send(memory, reranked(each), openinference(each, answer), root(each))

    assert await text_of(memory, later) == "Two years, one."
    assert await text_of(memory, earlier) == "Two years, twin."


async def test_a_list_stays_the_decision_that_it_was_found_to_be(memory: Memory, trace: Trace):
    ours = await decided(memory, trace)
    assert await send(memory, reranked(trace), root(trace)) == 0
    likelier = await decided(memory, trace, at_s=2.49)

    assert await send(memory, openinference(trace)) == 1

    assert await text_of(memory, ours) == ANSWER
    assert await answer_of(memory, likelier) is None


@pytest.mark.parametrize("at_s", [1.9, 3.6])
async def test_what_was_decided_at_another_time_is_not_meant(
    memory: Memory, trace: Trace, at_s: float
):
    theirs = await decided(memory, trace, at_s=at_s)

    assert await send(memory, reranked(trace), openinference(trace), root(trace)) == 0
    assert await answer_of(memory, theirs) is None


async def test_the_clock_of_an_app_may_be_a_little_late(memory: Memory, trace: Trace):
    await decided(memory, trace, at_s=3.4)  # the call ended at 2.5 s

    assert await send(memory, reranked(trace), openinference(trace), root(trace)) == 1


async def test_rankings_that_are_none_of_ours_are_passed_over(memory: Memory, trace: Trace):
    assert await send(memory, reranked(trace), openinference(trace), root(trace)) == 0


async def test_an_answer_without_its_end_waits(memory: Memory, trace: Trace):
    decision = await decided(memory, trace)

    assert await send(memory, reranked(trace), openinference(trace)) == 0
    assert await answer_of(memory, decision) is None


async def test_of_what_was_used_the_ids_alone_are_kept(memory: Memory, trace: Trace):
    await decided(memory, trace)
    await send(memory, reranked(trace), openinference(trace))
    before = await waiting(memory, trace)

    await send(memory, root(trace))

    assert before.keys() == {f"{2:016x}", f"{3:016x}"}
    assert await waiting(memory, trace) == {trace_memory.ENDED: ""}
    kept = await memory.redis.keys("*")
    assert kept
    assert min([await memory.redis.ttl(key) for key in kept]) > 0


async def test_the_next_request_of_a_trace_is_answered_too(memory: Memory, trace: Trace):
    first, second = await decided(memory, trace), await decided(memory, trace, at_s=11.4)
    await send(memory, reranked(trace), openinference(trace), served(trace))

    assert await send(memory, reranked(trace, number=11), openinference(trace, number=12)) == 1

    assert [await text_of(memory, each) for each in (first, second)] == [ANSWER, ANSWER]


async def test_what_nothing_came_of_is_dropped_in_the_end(
    memory: Memory, trace: Trace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(traces, "PATIENCE", timedelta(0))

    assert await send(memory, reranked(trace), openinference(trace), root(trace)) == 0
    assert await waiting(memory, trace) == {trace_memory.ENDED: ""}


@pytest.mark.parametrize(
    ("limit", "most", "kept"),
    [("MOST_SPANS", 1, 1), ("MOST_BYTES", 100, 0), ("MOST_USED", 0, 0)],
)
async def test_a_trace_that_has_said_too_much_is_not_listened_to(
    memory: Memory, trace: Trace, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, kept: int
):
    monkeypatch.setattr(trace_memory, limit, most)

    await send(memory, reranked(trace), openinference(trace))

    assert len(await waiting(memory, trace)) == kept
    left_out = memory.metrics.registry.get_sample_value("rankloop_spans_left_out_total")
    assert left_out == 2 - kept


async def test_a_job_under_one_trace_does_not_grow_for_ever(
    memory: Memory, trace: Trace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trace_memory, "MOST_USED", 2)
    await decided(memory, trace)
    await decided(memory, trace, at_s=11.4)
    await send(memory, reranked(trace), openinference(trace), served(trace))  # two were used

    assert await send(memory, reranked(trace, number=11), openinference(trace, number=12)) == 0
    assert await waiting(memory, trace) == {trace_memory.ENDED: ""}


async def binary(memory: Memory, body: bytes, **headers: str) -> httpx.Response:
    kind = {"content-type": "application/x-protobuf"}
    return await memory.client.post("/v1/traces", content=body, headers=kind | headers)


async def test_protobuf_is_what_exporters_send_by_default(memory: Memory, trace: Trace):
    decision = await decided(memory, trace)
    body = protobuf(reranked(trace), openinference(trace), root(trace))

    reply = await binary(memory, gzip.compress(body), **{"content-encoding": "gzip"})

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/x-protobuf"
    assert (await answer_of(memory, decision))["used"] == [2, 0]


async def test_a_trace_may_come_half_as_json_and_half_as_protobuf(memory: Memory, trace: Trace):
    await decided(memory, trace)
    await send(memory, reranked(trace), root(trace))

    reply = await binary(memory, protobuf(openinference(trace)))

    assert reply.headers["X-Rankloop-Answers"] == "1"


@pytest.mark.parametrize(("module", "name"), [(tracing, "read"), (reading, "reports")])
async def test_an_export_is_read_beside_the_event_loop(
    memory: Memory, trace: Trace, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
):
    work: Callable[..., Any] = getattr(module, name)
    threads: list[threading.Thread] = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread())
        return work(*args, **kwargs)

    monkeypatch.setattr(module, name, noted)
    await send(memory, reranked(trace), openinference(trace), root(trace))

    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_while_too_many_exports_are_read_another_is_to_come_again(
    memory: Memory, trace: Trace
):
    with ExitStack() as others:
        for _ in range(aside.MOST):
            others.enter_context(memory.aside.admitted())
        reply = await memory.client.post("/v1/traces", json=export(root(trace)))

    assert reply.status_code == 429
    assert reply.json()["type"] == "urn:rankloop:Overloaded"
    assert int(reply.headers["retry-after"]) >= 1
    assert await send(memory, root(trace)) == 0


async def test_what_is_no_export_is_refused(memory: Memory):
    bomb = gzip.compress(b"\x00" * (64 << 20))

    replies = [
        await binary(memory, b"\xff\xff\xff"),
        await binary(memory, b"no gzip", **{"content-encoding": "gzip"}),
        await binary(memory, b"", **{"content-encoding": "br"}),
        await binary(memory, bomb, **{"content-encoding": "gzip"}),
        await memory.client.post(
            "/v1/traces", content=b"{", headers={"content-type": "application/json"}
        ),
        await memory.client.post("/v1/traces", content=b"", headers={"content-type": "text/plain"}),
    ]

    assert [reply.status_code for reply in replies] == [422, 422, 415, 413, 422, 415]
    assert all(reply.headers["content-type"] == "application/problem+json" for reply in replies)
