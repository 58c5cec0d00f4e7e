"""`POST /v1/traces`: OTLP over HTTP."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response

from service import otlp
from service.dependencies import needs
from service.keys import Scope
from service.stores import TheTraces

MAX_BYTES: Final = 16 << 20
"""Of an export, packed or not: prompts are long, and exporters send hundreds of spans at once."""

router = APIRouter(tags=["answers"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK)])

BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "An ExportTraceServiceRequest of OpenTelemetry's protocol.",
        "content": {
            otlp.JSON: {"schema": {"type": "object"}, "example": {"resourceSpans": []}},
            otlp.PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post(
    "/v1/traces",
    max_body_size=MAX_BYTES,
    openapi_extra=BODY,
    response_class=Response,
    responses={
        200: {
            "description": "Taken",
            "content": {otlp.JSON: {"schema": {"type": "object"}}, otlp.PROTOBUF: {}},
            "headers": {
                "X-Rankloop-Answers": {
                    "description": "How many answers these spans completed.",
                    "schema": {"type": "integer"},
                }
            },
        }
    },
)
async def take(
    request: Request,
    traces: TheTraces,
    content_type: Annotated[str, Header(alias="Content-Type")] = "",
    content_encoding: Annotated[str | None, Header(alias="Content-Encoding")] = None,
) -> Response:
    """Finds rankings and the answers made from them in what tracing tools send: nothing else is kept."""
    spans = otlp.decode(
        await request.body(), content_type=content_type, encoding=content_encoding, most=MAX_BYTES
    )
    answered = await traces.take(spans)
    body, kind = otlp.accepted(content_type)
    return Response(body, media_type=kind, headers={"X-Rankloop-Answers": str(answered)})
