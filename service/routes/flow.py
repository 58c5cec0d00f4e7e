"""`GET /v1/flow`."""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from service.dependencies import TheSettings, needs
from service.keys import Scope
from service.openapi import refusals
from service.schemas.flow import Flow
from service.stores import TheFlows
from service.texts import Name

DAY_S: Final = 86_400.0
MOST_S: Final = 30 * DAY_S

router = APIRouter(
    tags=["operators"], dependencies=[needs(Scope.RERANK, Scope.FEEDBACK, Scope.OPERATE)]
)

Line = Annotated[
    Name | None, Query(description="Whose decisions; the service's own line's when absent.")
]
Within = Annotated[float, Query(gt=0, le=MOST_S, description="How far to look back, in seconds.")]


@router.get("/v1/flow", operation_id="flow", responses=refusals(401, 403, 422, 503))
async def flow(
    flows: TheFlows,
    settings: TheSettings,
    line: Line = None,
    within_s: Within = DAY_S,
) -> Flow:
    """How many decisions of the last day were answered, spoken of and learned from, and why the others were not."""
    return await flows.of(line or settings.line, within_s=within_s)
