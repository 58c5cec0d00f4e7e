"""`/v1/judge`: the queue of answers that wait for a verdict."""

from uuid import UUID

from fastapi import APIRouter

from service.dependencies import needs
from service.keys import Scope
from service.schemas.judge import GivenBack, Lease, Leased
from service.stores import TheLeases

router = APIRouter(prefix="/v1/judge", tags=["judge"], dependencies=[needs(Scope.JUDGE)])


@router.post("/lease")
async def lease(body: Lease, leases: TheLeases) -> Leased:
    """Takes answers to judge, oldest first. Feedback that names the rubric acknowledges; a lease ends by itself."""
    return Leased(tasks=await leases.take(body.rubric, body.n))


@router.post("/lease/{lease_id}/nack", status_code=204)
async def nack(lease_id: UUID, body: GivenBack, leases: TheLeases) -> None:
    """Gives a task back unjudged, to be tried again after a pause."""
    await leases.give_back(lease_id, body.error)
