"""Reranking, in every dialect and on every path that a client may have been written for."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Body, Depends, Header, Request
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from starlette.responses import Response

from service import examples
from service.asked import Asked
from service.dependencies import TheMetrics, TheReranker, TheSettings, TheTenant, needs
from service.dialects.infinity import StringsResponse
from service.dialects.objects import RerankResponse
from service.dialects.recognise import AnyRequest, AnyResponse
from service.dialects.route import DialectRoute
from service.disconnect import ClientLeft, unless_gone
from service.errors import TooMany
from service.keys import Scope
from service.openapi import Node, Responses, rerank_refusals
from service.rerank import Reply
from service.texts import MAX_NAME

PATHS: Final = (
    "/v1/rerank",
    "/rerank",
    "/v2/rerank",
    "/v1/v2/rerank",  # Cohere's v2 client with a base URL that ends in /v1
    "/reranking",
    "/v1/reranking",
    "/ranking",
    "/v1/ranking",
    "/score",
    "/v1/score",
    "/",
    "/invocations",
)

router = APIRouter(tags=["rerank"], dependencies=[needs(Scope.RERANK)], route_class=DialectRoute)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_NAME,
        description="Yours: the same key and body get the same decision again, for ten minutes.",
    ),
]

ExpectedTimeout = Annotated[
    int | None,
    Header(
        alias="x-envoy-expected-rq-timeout-ms",
        ge=1,
        le=2**31 - 1,
        description="Envoy's: how long it waits. What would take longer is refused at once.",
    ),
]


def _header(description: str, **schema: str | int) -> Node:
    return {"description": description, "required": True, "schema": schema}


HEADERS: Final[Mapping[str, Node]] = {
    "X-Rankloop-Decision": _header("The decision.", type="string", format="uuid"),
    "X-Rankloop-Version": _header("The model that scored.", type="string"),
    "x-total-time": _header("Milliseconds of it all.", type="integer", minimum=0),
    "x-queue-time": _header("Milliseconds before the model.", type="integer", minimum=0),
    "x-tokenization-time": _header("Milliseconds of reading.", type="integer", minimum=0),
    "x-inference-time": _header("Milliseconds of the model.", type="integer", minimum=0),
}
_ID: Final = "$response.header.X-Rankloop-Decision"
LINKS: Final[Node] = {
    "decision": {
        "operationId": "decision",
        "parameters": {"decision_id": _ID},
        "description": "What is remembered of it.",
    },
    "answer": {
        "operationId": "answer",
        "parameters": {"decision_id": _ID},
        "description": "Say what the LLM did with the documents.",
    },
    "feedback": {
        "operationId": "say",
        "requestBody": {"decision_id": _ID},
        "description": "Say how good it was.",
    },
}
RESPONSES: Final[Responses] = {
    200: {
        "model": AnyResponse,
        "description": "The ranking, in the words of the dialect",
        "headers": HEADERS,
        "links": LINKS,
    },
    **rerank_refusals(400, 401, 403, 404, 413, 422, 429, 503),
}
INFINITY_RESPONSES: Final[Responses] = {
    **RESPONSES,
    200: {**RESPONSES[200], "model": StringsResponse | AnyResponse},
}


async def ranked(  # noqa: PLR0917 -- FastAPI fills them by name
    body: Annotated[AnyRequest, Body(openapi_examples=examples.RERANK)],
    request: Request,
    reranker: TheReranker,
    settings: TheSettings,
    tenant: TheTenant,
    metrics: TheMetrics,
    idempotency_key: IdempotencyKey = None,
    timeout_ms: ExpectedTimeout = None,
) -> tuple[Reply, BaseModel]:
    """The reply, and its body in the dialect of the request."""
    waits_until = math.inf if timeout_ms is None else time.perf_counter() + timeout_ms / 1000

    async def asked_and_ranked(asked: Asked) -> Reply:
        if len(asked.candidates) > settings.service_max_documents:
            raise TooMany(f"documents: more than {settings.service_max_documents}")
        return await reranker.rerank(replace(asked, waits_until=waits_until))

    work = body.answered(asked_and_ranked, tenant=tenant, request_key=idempotency_key)
    try:
        return await unless_gone(request, work)
    except ClientLeft:
        metrics.abandoned.inc()
        raise


Ranked: TypeAlias = Annotated[tuple[Reply, BaseModel], Depends(ranked)]


async def rerank(found: Ranked) -> Response:
    """Ranks the documents for the query; sometimes, on purpose, by another order than the best one.

    Every path takes every dialect; which one it is shows in the body's own fields.
    """
    return _response(*found)


@router.post("/infinity/rerank", responses=INFINITY_RESPONSES, response_model=None)
async def rerank_as_infinity(found: Ranked) -> Response:
    """The same, with the documents that come back as strings."""
    reply, body = found
    return _response(reply, StringsResponse.of(body) if isinstance(body, RerankResponse) else body)


for path in PATHS:
    router.add_api_route(
        path,
        rerank,
        methods=["POST"],
        responses=RESPONSES,
        response_model=None,
        operation_id="rerank" + path.replace("/", "_").rstrip("_"),
    )


def _response(reply: Reply, body: BaseModel) -> Response:
    return Response(
        _encoded(body),
        media_type="application/json",
        headers=_headers(reply),
    )


def _encoded(answer: BaseModel) -> str:
    try:
        return answer.model_dump_json(exclude_none=True)
    except PydanticSerializationError:
        # A document that comes back may hold half of a surrogate pair, which only an escape can write.
        return json.dumps(answer.model_dump(exclude_none=True))


def _headers(reply: Reply) -> dict[str, str]:
    """Times in whole milliseconds, as the servers do whose clients read these headers."""
    timing = reply.timing
    values = (
        str(reply.decision.id),
        reply.decision.version,
        _ms(reply.total_s),
        _ms(timing.queue_s),
        _ms(timing.tokenization_s),
        _ms(timing.inference_s),
    )
    return dict(zip(HEADERS, values, strict=True))


def _ms(seconds: float) -> str:
    return str(round(1000 * seconds))
