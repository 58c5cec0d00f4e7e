import json
from datetime import UTC, datetime
from typing import Any

from service.otlp import JSON
from service.tracing import Found, Piece, read

TRACE = "5b8efff798038103d269b633813fc60c"
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def a_span(number: int, said: dict[str, str], *, parent: int | None = 1) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        **({} if parent is None else {"parentSpanId": f"{parent:016x}"}),
        "startTimeUnixNano": str(int(AT.timestamp()) * 1_000_000_000),
        "endTimeUnixNano": str(int(AT.timestamp()) * 1_000_000_000),
        "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in said.items()],
    }


def said_by(*spans: dict[str, Any]) -> Any:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    return read(body, content_type=JSON, encoding=None, most=1 << 20)


RERANKED = {
    "reranker.query": "How long?",
    "reranker.output_documents.0.document.content": "Two years.",
    "reranker.output_documents.1.document.content": "Ask us.",
}
LLM = {"openinference.span.kind": "LLM", "input.value": "Two years.", "output.value": "Two [1]."}


def test_an_export_says_by_trace_what_its_spans_say():
    said = said_by(a_span(1, {}, parent=None), a_span(2, RERANKED), a_span(3, LLM))

    assert said.keys() == {TRACE}
    assert said[TRACE].has_ended
    pieces = {span: Piece.of_json(text) for span, text in said[TRACE].pieces.items()}
    reranked, read_by = pieces[f"{2:016x}"], pieces[f"{3:016x}"]
    assert len(pieces) == 2
    assert reranked.listed is not None
    assert reranked.listed.texts == ("Two years.", "Ask us.")
    assert reranked.listed.by_reranker
    assert read_by.reading is not None
    assert (read_by.reading.answer, read_by.reading.at) == ("Two [1].", AT)


def test_spans_that_say_nothing_and_end_nothing_are_passed_over():
    assert said_by(a_span(2, {"http.route": "/ask"})) == {}


def test_a_list_whose_decision_is_known_is_a_ranking():
    (text,) = said_by(a_span(2, RERANKED))[TRACE].pieces.values()
    unknown = Piece.of_json(text)
    found = Found(decision_id="d", positions=(4, 2))

    known = Piece(
        listed=unknown.listed, found=found, started_at=unknown.started_at, ended_at=unknown.ended_at
    )

    assert unknown.shown is None
    assert Piece.of_json(known.to_json()) == known
    assert known.shown is not None
    assert known.shown.positions == (4, 2)
    assert known.shown.texts == ("Two years.", "Ask us.")
