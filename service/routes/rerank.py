"""`POST /v1/rerank`."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from service.dependencies import TheMetrics, TheReranker, TheSettings, TheTenant, needs
from service.disconnect import ClientLeft, unless_gone
from service.errors import Invalid
from service.keys import Scope
from service.rerank import Reply
from service.schemas.rerank import RerankRequest, RerankResponse
from service.texts import MAX_NAME

router = APIRouter(tags=["rerank"], dependencies=[needs(Scope.RERANK)])

IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=MAX_NAME)
]


@router.post("/v1/rerank", response_model_exclude_none=True)
async def rerank(  # noqa: PLR0917 -- FastAPI fills them by name
    body: RerankRequest,
    request: Request,
    response: Response,
    reranker: TheReranker,
    settings: TheSettings,
    tenant: TheTenant,
    metrics: TheMetrics,
    idempotency_key: IdempotencyKey = None,
) -> RerankResponse:
    """Ranks the documents for the query; sometimes, on purpose, by another order than the best one."""
    if len(body.documents) > settings.service_max_documents:
        raise Invalid(f"documents: more than {settings.service_max_documents}")
    asked = body.to_asked(tenant=tenant, request_key=idempotency_key)
    try:
        reply = await unless_gone(request, reranker.rerank(asked))
    except ClientLeft:
        metrics.abandoned.inc()
        raise
    response.headers.update(_headers(reply))
    return RerankResponse.of(reply, body)


def _headers(reply: Reply) -> dict[str, str]:
    """Times in whole milliseconds, as the servers do whose clients read these headers."""
    timing = reply.timing
    return {
        "X-Rankloop-Decision": str(reply.decision.id),
        "X-Rankloop-Version": reply.decision.version,
        "x-total-time": _ms(reply.total_s),
        "x-queue-time": _ms(timing.queue_s),
        "x-tokenization-time": _ms(timing.tokenization_s),
        "x-inference-time": _ms(timing.inference_s),
    }


def _ms(seconds: float) -> str:
    return str(round(1000 * seconds))
