"""`POST /v1/decisions/{id}/answer`."""

from uuid import UUID

from fastapi import APIRouter, Response

from service.dependencies import needs
from service.keys import Scope
from service.schemas.answers import Answer, Answered
from service.stores import TheAnswers

router = APIRouter(tags=["answers"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK)])


@router.post("/v1/decisions/{decision_id}/answer", responses={202: {"model": Answered}})
async def answer(
    decision_id: UUID, body: Answer, response: Response, answers: TheAnswers
) -> Answered:
    """Says what the LLM did with the documents; opens the decision for judging."""
    used, landed = await answers.store(decision_id, body)
    if not landed:
        response.status_code = 202
    return Answered(
        decision_id=decision_id,
        status="stored" if landed else "pending",
        used_k=used.k,
        used_is_prefix=used.other is None if landed else None,
    )
