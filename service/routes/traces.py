"""`POST /v1/traces`: OTLP over HTTP."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response

from service import examples, otlp, tracing
from service.dependencies import needs
from service.keys import Scope
from service.openapi import Node, Responses, refusals
from service.stores import TheAside, TheTraces

MAX_BYTES: Final = 16 << 20
"""Of an export, packed or not: prompts are long, and exporters send hundreds of spans at once."""

router = APIRouter(tags=["answers"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK)])

BODY: Final[Node] = {
    "requestBody": {
        "required": True,
        "description": "An ExportTraceServiceRequest of OpenTelemetry's protocol.",
        "content": {
            otlp.JSON: {"schema": {"type": "object"}, "examples": examples.TRACES},
            otlp.PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
RESPONSES: Final[Responses] = {
    200: {
        "description": "Taken",
        "content": {otlp.JSON: {"schema": {"type": "object"}}, otlp.PROTOBUF: {}},
        "headers": {
            "X-Rankloop-Answers": {
                "description": "How many answers were first told by these spans.",
                "required": True,
                "schema": {"type": "integer", "minimum": 0},
            }
        },
    },
    **refusals(400, 401, 403, 413, 415, 422, 429, 503),
}
ContentType = Annotated[str, Header(alias="Content-Type", include_in_schema=False)]
# No parameter of the operation: it says how the body is written, and a schema cannot hold it to the body.
ContentEncoding = Annotated[str | None, Header(alias="Content-Encoding", include_in_schema=False)]


@router.post(
    "/v1/traces",
    operation_id="traces",
    max_body_size=MAX_BYTES,
    openapi_extra=BODY,
    response_class=Response,
    responses=RESPONSES,
)
async def take(
    request: Request,
    traces: TheTraces,
    aside: TheAside,
    content_type: ContentType = "",
    content_encoding: ContentEncoding = None,
) -> Response:
    """Finds rankings and the answers made from them in what tracing tools send: nothing else is kept.

    The body may be packed: `Content-Encoding: gzip`.
    """
    export = await request.body()
    with aside.admitted():
        said = await aside.run(
            tracing.read,
            export,
            content_type=content_type,
            encoding=content_encoding,
            most=MAX_BYTES,
        )
        answered = await traces.take(said)
    body, kind = otlp.accepted(content_type)
    return Response(body, media_type=kind, headers={"X-Rankloop-Answers": str(answered)})
