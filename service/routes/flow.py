"""`GET /v1/flow`."""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from service.dependencies import TheSettings, needs
from service.keys import Scope
from service.schemas.flow import Flow
from service.stores import TheFlows
from service.texts import Name

DAY_S: Final = 86_400.0
MOST_S: Final = 30 * DAY_S

router = APIRouter(
    tags=["operators"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK, Scope.OPERATE)]
)

Within = Annotated[float, Query(gt=0, le=MOST_S)]


@router.get("/v1/flow")
async def flow(
    flows: TheFlows,
    settings: TheSettings,
    line: Annotated[Name | None, Query()] = None,
    within_s: Within = DAY_S,
) -> Flow:
    """How many decisions of the last day were answered, spoken of and learned from, and why the others were not."""
    return await flows.of(line or settings.line, within_s=within_s)
