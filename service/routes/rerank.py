"""Reranking, in every dialect and on every path that a client may have been written for."""

from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from service.asked import Asked
from service.dependencies import TheMetrics, TheReranker, TheSettings, TheTenant, needs
from service.dialects.infinity import StringsResponse
from service.dialects.objects import RerankResponse
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
_SCHEMAS: Final = {name: {"schema": {"type": "string"}} for name in HEADERS}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": AnyResponse, "headers": _SCHEMAS}
}
INFINITY_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": StringsResponse | AnyResponse, "headers": _SCHEMAS}
}


async def ranked(  # noqa: PLR0917 -- FastAPI fills them by name
    body: AnyRequest,
    request: Request,
    reranker: TheReranker,
    settings: TheSettings,
    tenant: TheTenant,
    metrics: TheMetrics,
    idempotency_key: IdempotencyKey = None,
) -> tuple[Reply, BaseModel]:
    """The reply, and its body in the dialect of the request."""

    async def asked_and_ranked(asked: Asked) -> Reply:
        if len(asked.candidates) > settings.service_max_documents:
            raise TooMany(f"documents: more than {settings.service_max_documents}")
        return await reranker.rerank(asked)

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
        body.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers=_headers(reply),
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
