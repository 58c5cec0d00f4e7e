"""`/v1/judge`: the queue of answers that wait for a verdict."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Path

from service import examples
from service.dependencies import needs
from service.keys import Scope
from service.openapi import Node, refusals
from service.schemas.judge import GivenBack, Lease, Leased
from service.stores import TheLeases

router = APIRouter(prefix="/v1/judge", tags=["judge"], dependencies=[needs(Scope.JUDGE)])

LeaseId = Annotated[
    UUID,
    Path(
        description="As it came with the task.",
        openapi_examples={"one": {"value": examples.LEASE}},
    ),
]

LINKS: Final[Node] = {
    "nack": {
        "operationId": "nack",
        "parameters": {"lease_id": "$response.body#/tasks/0/lease_id"},
        "description": "Give the first one back.",
    }
}


@router.post(
    "/lease",
    operation_id="lease",
    responses={200: {"links": LINKS}, **refusals(400, 401, 403, 413, 422, 503)},
)
async def lease(
    body: Annotated[Lease, Body(openapi_examples=examples.LEASED)], leases: TheLeases
) -> Leased:
    """Takes answers to judge, oldest first. Feedback that names the rubric acknowledges; a lease ends by itself."""
    return Leased(tasks=await leases.take(body))


@router.post(
    "/lease/{lease_id:uuid}/nack",
    status_code=204,
    operation_id="nack",
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
)
async def nack(
    lease_id: LeaseId,
    body: Annotated[GivenBack, Body(openapi_examples=examples.NACK)],
    leases: TheLeases,
) -> None:
    """Gives a task back unjudged, to be tried again after a pause."""
    await leases.give_back(lease_id, body)
