import json
from base64 import b64encode
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from service.errors import Invalid
from service.otlp import JSON, PROTOBUF, Span, decode

TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"
PARENT = "eee19b7ec3c1b173"


def of_json(**said: Any) -> list[Span]:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [said]}]}]}).encode()
    return decode(body, content_type=JSON, encoding=None, most=1 << 20)


def of_protobuf(**said: Any) -> list[Span]:
    scope = ScopeSpans(spans=[WireSpan(**said)])
    export = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[scope])])
    return decode(export.SerializeToString(), content_type=PROTOBUF, encoding=None, most=1 << 20)


def test_a_span_has_the_same_ids_in_json_and_in_protobuf():
    ids = {"trace_id": TRACE, "span_id": SPAN, "parent_span_id": PARENT}

    (packed,) = of_protobuf(**{name: bytes.fromhex(text) for name, text in ids.items()})
    (plain,) = of_json(traceId=TRACE, spanId=SPAN, parentSpanId=PARENT)
    (shouted,) = of_json(traceId=TRACE.upper(), spanId=SPAN.upper(), parentSpanId=PARENT.upper())

    assert (packed.trace_id, packed.span_id, packed.is_root) == (TRACE, SPAN, False)
    assert plain == shouted == packed


def test_ids_in_base64_as_the_json_of_protobuf_has_them_are_read_too():
    said = {
        "traceId": b64encode(bytes.fromhex(TRACE)).decode(),
        "spanId": b64encode(bytes.fromhex(SPAN)).decode(),
    }

    (span,) = of_json(**said)

    assert (span.trace_id, span.span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        ("", SPAN),
        (TRACE, ""),
        (TRACE[:-2], SPAN),
        (TRACE, SPAN + SPAN),
        ("z" * 32, SPAN),
        (TRACE, "0" * 16),
    ],
)
def test_a_span_without_an_id_belongs_to_no_trace(trace_id: str, span_id: str):
    assert of_json(traceId=trace_id, spanId=span_id) == []


@pytest.mark.parametrize(
    ("said", "roots"),
    [
        ({}, 1),
        ({"parentSpanId": ""}, 1),
        ({"parentSpanId": "0" * 16}, 1),
        ({"parentSpanId": PARENT}, 0),
        ({"parentSpanId": PARENT, "kind": "SPAN_KIND_SERVER"}, 1),
        ({"parentSpanId": PARENT, "kind": "SPAN_KIND_CONSUMER"}, 1),
        ({"parentSpanId": PARENT, "kind": "SPAN_KIND_CLIENT"}, 0),
    ],
)
def test_a_request_ends_with_the_span_that_has_no_parent_here(said: Any, roots: int):
    spans = of_json(traceId=TRACE, spanId=SPAN, **said)

    assert sum(span.is_root for span in spans) == roots


@pytest.mark.parametrize("body", [b'"AAA"', b"[]", b"7", b"null", b"", b' "{"'])
def test_json_that_is_no_object_is_no_export(body: bytes):
    with pytest.raises(Invalid, match="no export"):
        decode(body, content_type=JSON, encoding=None, most=100)
