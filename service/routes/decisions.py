"""`GET /v1/decisions/{id}` and `POST /v1/decisions/match`."""

from uuid import UUID

from fastapi import APIRouter

from service.dependencies import needs
from service.keys import Scope
from service.schemas.history import DecisionRecord
from service.schemas.matching import Match, Matched
from service.stores import TheHistory, TheMatching

router = APIRouter(tags=["decisions"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK)])


@router.get("/v1/decisions/{decision_id}")
async def decision(decision_id: UUID, history: TheHistory) -> DecisionRecord:
    """The decision with its answer, its feedback and its reward, and why it was or was not learned from."""
    return await history.read(decision_id)


@router.post("/v1/decisions/match")
async def match(body: Match, matching: TheMatching) -> Matched:
    """Finds a decision by its query and the documents that were used, where its id was lost on the way."""
    return await matching.find(body)
