"""`POST /v1/decisions/{id}/answer`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response

from service import examples
from service.dependencies import needs
from service.keys import Scope
from service.openapi import refusals
from service.schemas.answers import Answer, Answered
from service.stores import TheAnswers

router = APIRouter(tags=["answers"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK)])


DecisionId = Annotated[
    UUID,
    Path(
        description="The `id` of a rerank response, or its header `X-Rankloop-Decision`.",
        openapi_examples={"one": {"value": examples.DECISION}},
    ),
]


@router.post(
    "/v1/decisions/{decision_id:uuid}/answer",
    operation_id="answer",
    responses={
        202: {"model": Answered, "description": "The decision is on its way"},
        **refusals(400, 401, 403, 404, 409, 410, 413, 422, 503),
    },
)
async def answer(
    decision_id: DecisionId,
    body: Annotated[Answer, Body(openapi_examples=examples.ANSWER)],
    response: Response,
    answers: TheAnswers,
) -> Answered:
    """Says what the LLM did with the documents; opens the decision for judging."""
    stored = await answers.store(decision_id, body)
    if not stored.landed:
        response.status_code = 202
    return Answered(
        decision_id=decision_id,
        status="stored" if stored.landed else "pending",
        used_k=stored.used.k,
        used_is_prefix=stored.used.other is None if stored.landed else None,
    )
