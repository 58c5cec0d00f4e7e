"""OpenTelemetry's wire for traces: protobuf or JSON in, spans out."""

import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from service.errors import Invalid

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
TOO_LARGE: Final = 413
TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
HEX: Final = frozenset("0123456789abcdef")

Attributes: TypeAlias = Mapping[str, Any]


class UnknownEncoding(Invalid):
    """Neither protobuf nor JSON, or packed in a way that we do not unpack."""

    status = 415


class Unpacked(Invalid):
    """What was packed is larger than a body may be."""

    status = TOO_LARGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One piece of work of a trace."""

    trace_id: str
    """In hex, as is the other: the same whatever the encoding."""
    span_id: str
    is_root: bool
    """Whether it ends what the app did for one request: it has no parent, or one in another process."""
    started_at: datetime
    ended_at: datetime
    attributes: Attributes
    """Its own, and those of its events."""


def decode(body: bytes, *, content_type: str, encoding: str | None, most: int) -> list[Span]:
    """Every span that has an id.  Raises `Invalid`, `UnknownEncoding`, and `Unpacked` beyond `most` bytes."""
    kind = content_type.partition(";")[0].strip().lower()
    export = ExportTraceServiceRequest()
    plain = _unpacked(body, encoding, most=most)
    try:
        if kind == PROTOBUF:
            export.ParseFromString(plain)
        elif kind == JSON:
            _must_be_object(plain)
            json_format.Parse(plain, export, ignore_unknown_fields=True)
        else:
            raise UnknownEncoding(f"content-type: {PROTOBUF} or {JSON}")
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("body: no export of traces") from error
    return [
        found
        for resource in export.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if (found := _span(span)) is not None
    ]


def accepted(content_type: str) -> tuple[bytes, str]:
    """The reply to an export, and its content type."""
    if content_type.startswith(JSON):
        return b"{}", JSON
    return ExportTraceServiceResponse().SerializeToString(), PROTOBUF


def _must_be_object(plain: bytes) -> None:
    """Protobuf takes the letters of a string for fields that it does not know.  Raises `Invalid`."""
    if not plain.lstrip().startswith(b"{"):
        raise Invalid("body: no export of traces")


def _unpacked(body: bytes, encoding: str | None, *, most: int) -> bytes:
    if encoding in {None, "", "identity"}:
        return body
    if encoding != "gzip":
        raise UnknownEncoding("content-encoding: gzip or none")
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = gzip.decompress(body, most)
    except zlib.error as error:
        raise Invalid("body: no gzip") from error
    if gzip.unconsumed_tail:
        raise Unpacked("the body is larger than it may be")
    return plain


def _span(span: WireSpan) -> Span | None:
    trace_id = _id(span.trace_id, size=TRACE_ID_BYTES)
    span_id = _id(span.span_id, size=SPAN_ID_BYTES)
    if trace_id is None or span_id is None:
        return None
    attributes = dict(_pairs(span.attributes))
    for event in span.events:
        attributes.update(_pairs(event.attributes))
    is_entrance = span.kind in {WireSpan.SPAN_KIND_SERVER, WireSpan.SPAN_KIND_CONSUMER}
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        is_root=_id(span.parent_span_id, size=SPAN_ID_BYTES) is None or is_entrance,
        started_at=_time(span.start_time_unix_nano),
        ended_at=_time(span.end_time_unix_nano),
        attributes=attributes,
    )


def _id(sent: bytes, *, size: int) -> str | None:
    """In hex; None for what is no id, zeros alone among them.

    OTLP's JSON has ids in hex where the JSON of protobuf has base64: read as that, an id is half as long again.
    """
    said = b64encode(sent).decode().lower() if 2 * len(sent) == 3 * size else sent.hex()
    is_one = len(said) == 2 * size and HEX.issuperset(said) and said.strip("0")
    return said if is_one else None


def _pairs(pairs: Iterable[KeyValue]) -> Iterator[tuple[str, Any]]:
    for pair in pairs:
        yield pair.key, _value(pair.value)


def _value(value: AnyValue) -> Any:  # noqa: ANN401 -- JSON
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return dict(_pairs(value.kvlist_value.values))
    return None if kind is None else getattr(value, kind)


def _time(nanoseconds: int) -> datetime:
    """Times beyond the calendar are the epoch's: a clock that is off is no reason to refuse a trace."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, tz=UTC)
