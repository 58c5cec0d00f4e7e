"""Which sources are not heard, and who said so."""

from typing import Annotated

from fastapi import APIRouter, Body

from service import examples
from service.dependencies import TheTenant
from service.openapi import refusals
from service.routes.operators import OPERATES, READING, Limit
from service.schemas.operators import Listed
from service.schemas.quarantines import Quarantine, QuarantineChange
from service.stores import TheQuarantines

router = APIRouter(prefix="/v1", tags=["operators"])


@router.get("/quarantines", responses=READING, dependencies=OPERATES)
async def listed(quarantines: TheQuarantines, limit: Limit = 100) -> Listed[Quarantine]:
    """Every quarantine and every lifting of one, in all tenants; of each source the newest one holds."""
    rows = await quarantines.listed(limit=limit)
    return Listed[Quarantine](data=[Quarantine.model_validate(row) for row in rows])


@router.post(
    "/quarantines", responses=refusals(400, 401, 403, 409, 413, 422, 503), dependencies=OPERATES
)
async def change(
    body: Annotated[QuarantineChange, Body(openapi_examples=examples.QUARANTINE)],
    quarantines: TheQuarantines,
    tenant: TheTenant,
) -> Quarantine:
    """Keeps a source out of what rounds learn and judge from, or lets it in again; it is stored all the same."""
    row = await quarantines.change(
        tenant=body.tenant or tenant,
        source=body.source.type,
        source_id=body.source.id,
        quarantined=body.quarantined,
        since=body.since,
        reason=body.reason,
    )
    return Quarantine.model_validate(row)
