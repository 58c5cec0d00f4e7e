"""`GET /v1/decisions/{id}` and `POST /v1/decisions/match`."""

from typing import Annotated

from fastapi import APIRouter, Body

from service import examples
from service.dependencies import needs
from service.keys import Scope
from service.openapi import refusals
from service.routes.answers import DecisionId
from service.schemas.history import DecisionRecord
from service.schemas.matching import Match, Matched
from service.stores import TheHistory, TheMatching

router = APIRouter(tags=["decisions"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK)])


@router.get(
    "/v1/decisions/{decision_id:uuid}",
    operation_id="decision",
    responses=refusals(401, 403, 404, 409, 410, 503),
)
async def decision(decision_id: DecisionId, history: TheHistory) -> DecisionRecord:
    """The decision with its answer, its feedback and its reward, and why it was or was not learned from."""
    return await history.read(decision_id)


@router.post(
    "/v1/decisions/match",
    operation_id="match",
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
)
async def match(
    body: Annotated[Match, Body(openapi_examples=examples.MATCH)], matching: TheMatching
) -> Matched:
    """Finds a decision by its query and the documents that were used, where its id was lost on the way."""
    return await matching.find(body)
