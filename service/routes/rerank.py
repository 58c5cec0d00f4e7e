"""Reranking, in every dialect and on every path that a client may have been written for."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from service.asked import Asked
from service.dependencies import TheMetrics, TheReranker, TheSettings, TheTenant, needs
from service.dialects.recognise import AnyRequest, AnyResponse
from service.dialects.route import DialectRoute
from service.disconnect import ClientLeft, unless_gone
from service.errors import TooMany
from service.keys import Scope
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
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=MAX_NAME)
]
HEADERS: Final = (
    "X-Rankloop-Decision",
    "X-Rankloop-Version",
    "x-total-time",
    "x-queue-time",
    "x-tokenization-time",
    "x-inference-time",
)
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": AnyResponse,
        "headers": {name: {"schema": {"type": "string"}} for name in HEADERS},
    }
}


async def rerank(  # noqa: PLR0917 -- FastAPI fills them by name
    body: AnyRequest,
    request: Request,
    reranker: TheReranker,
    settings: TheSettings,
    tenant: TheTenant,
    metrics: TheMetrics,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ranks the documents for the query; sometimes, on purpose, by another order than the best one.

    Every path takes every dialect; which one it is shows in the body's own fields.
    """

    async def asked_and_ranked(asked: Asked) -> Reply:
        if len(asked.candidates) > settings.service_max_documents:
            raise TooMany(f"documents: more than {settings.service_max_documents}")
        return await reranker.rerank(asked)

    work = body.answered(asked_and_ranked, tenant=tenant, request_key=idempotency_key)
    try:
        reply, answer = await unless_gone(request, work)
    except ClientLeft:
        metrics.abandoned.inc()
        raise
    return Response(
        answer.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers=_headers(reply),
    )


for path in PATHS:
    router.add_api_route(
        path,
        rerank,
        methods=["POST"],
        responses=RESPONSES,
        response_model=None,
        operation_id="rerank" + path.replace("/", "_").rstrip("_"),
    )


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
