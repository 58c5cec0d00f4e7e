"""Answers found in the spans that tracing tools send: OpenInference's words and OpenTelemetry's, JSON and protobuf."""

import gzip
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.conftest import Memory

QUERY = "How long is the warranty?"
SHOWN = ["Two years.", "One year.", "Ask us."]  # positions 2, 0, 1
PROMPT = "Answer from these.\n[1] Two years.\n[2] One year.\nHow long is the warranty?"
ANSWER = "It is two years [1]."
SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND

Said = dict[str, Any]


def span(number: int, said: Said, *, trace: str, parent: int | None = 1) -> Said:
    """The spans of a trace begin one second after another and take half of one."""
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        **({} if parent is None else {"parentSpanId": f"{parent:016x}"}),
        "name": "span",
        "startTimeUnixNano": str(START + number * SECOND),
        "endTimeUnixNano": str(START + number * SECOND + SECOND // 2),
        "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in said.items()],
    }


def root(trace: str) -> Said:
    return span(1, {"openinference.span.kind": "CHAIN"}, trace=trace, parent=None)


def reranked(trace: str, **said: str) -> Said:
    documents = {
        f"reranker.output_documents.{place}.document.content": text
        for place, text in enumerate(SHOWN)
    }
    kind = {"openinference.span.kind": "RERANKER", "reranker.query": QUERY}
    return span(2, kind | documents | said, trace=trace)


def openinference(trace: str) -> Said:
    said = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "my-reader",
        "llm.input_messages.0.message.content": PROMPT,
        "llm.output_messages.0.message.content": ANSWER,
    }
    return span(3, said, trace=trace)


def genai(trace: str) -> Said:
    def messages(role: str, text: str) -> str:
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])

    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "my-reader",
        "gen_ai.input.messages": messages("user", PROMPT),
        "gen_ai.output.messages": messages("assistant", ANSWER),
    }
    return span(3, said, trace=trace)


def legacy_genai(trace: str) -> Said:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "my-reader",
        "gen_ai.prompt.0.content": PROMPT,
        "gen_ai.completion.0.content": ANSWER,
    }
    return span(3, said, trace=trace)


def export(*spans: Said) -> Said:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


async def send(memory: Memory, *spans: Said) -> int:
    """How many answers they completed."""
    reply = await memory.client.post("/v1/traces", json=export(*spans))
    assert reply.status_code == 200, reply.text
    assert reply.json() == {}
    return int(reply.headers["X-Rankloop-Answers"])


async def answer_of(memory: Memory, decision_id: UUID) -> Any:
    return (await memory.client.get(f"/v1/decisions/{decision_id}")).json()["answer"]


@pytest.fixture
def trace() -> str:
    return uuid4().hex


@pytest.mark.parametrize("said", [openinference, genai, legacy_genai])
async def test_a_trace_answers_the_decision_that_it_ranked(memory: Memory, trace: str, said: Any):
    decision = await memory.decide()

    assert await send(memory, reranked(trace), said(trace), root(trace)) == 1

    answer = await answer_of(memory, decision.id)
    assert answer["used"] == [2, 0]
    assert answer["citations"] == [2]
    assert answer["text"] == ANSWER
    assert answer["model"] == "my-reader"
    assert answer["latency_ms"] == 500.0


async def test_spans_may_come_one_by_one_and_the_end_first(memory: Memory, trace: str):
    decision = await memory.decide()
    spans = [root(trace), openinference(trace), reranked(trace)]

    assert [await send(memory, each) for each in spans] == [0, 0, 1]
    assert (await answer_of(memory, decision.id))["used"] == [2, 0]


async def test_a_retriever_that_hands_on_the_ranking_will_do(memory: Memory, trace: str):
    await memory.decide()
    documents = {
        f"retrieval.documents.{place}.document.content": text for place, text in enumerate(SHOWN)
    }
    kind = {"openinference.span.kind": "RETRIEVER", "input.value": QUERY}

    retrieved = span(2, kind | documents, trace=trace)

    assert await send(memory, retrieved, openinference(trace), root(trace)) == 1


async def test_an_id_on_the_span_says_which_of_two_equal_decisions_it_was(
    memory: Memory, trace: str
):
    first, second = await memory.decide(), await memory.decide()
    spans = (
        reranked(trace, **{"rankloop.decision_id": str(first.id)}),
        openinference(trace),
        root(trace),
    )

    assert await send(memory, *spans) == 1

    assert (await answer_of(memory, first.id))["text"] == ANSWER
    assert await answer_of(memory, second.id) is None


async def test_the_same_trace_again_changes_nothing(memory: Memory, trace: str):
    decision = await memory.decide()
    spans = (reranked(trace), openinference(trace), root(trace))

    assert [await send(memory, *spans) for _ in range(2)] == [1, 1]
    assert (await answer_of(memory, decision.id))["text"] == ANSWER


async def test_rankings_that_are_none_of_ours_are_passed_over(memory: Memory, trace: str):
    assert await send(memory, reranked(trace), openinference(trace), root(trace)) == 0


async def test_an_answer_without_its_end_waits(memory: Memory, trace: str):
    decision = await memory.decide()

    assert await send(memory, reranked(trace), openinference(trace)) == 0
    assert await answer_of(memory, decision.id) is None


async def binary(memory: Memory, body: bytes, **headers: str) -> httpx.Response:
    kind = {"content-type": "application/x-protobuf"}
    return await memory.client.post("/v1/traces", content=body, headers=kind | headers)


async def test_protobuf_is_what_exporters_send_by_default(memory: Memory, trace: str):
    decision = await memory.decide()
    spans = export(reranked(trace), openinference(trace), root(trace))
    body = json_format.ParseDict(spans, ExportTraceServiceRequest()).SerializeToString()

    reply = await binary(memory, gzip.compress(body), **{"content-encoding": "gzip"})

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/x-protobuf"
    assert (await answer_of(memory, decision.id))["used"] == [2, 0]


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
