"""`/v1/judge/replays`: answers that shall be made again, from other documents or in another order."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Path

from service import examples
from service.dependencies import needs
from service.keys import Scope
from service.openapi import Node, refusals
from service.schemas.judge import GivenBack
from service.schemas.replays import ReplayLease, ReplayResult, ReplaysLeased
from service.stores import TheReplays

router = APIRouter(prefix="/v1/judge/replays", tags=["judge"], dependencies=[needs(Scope.JUDGE)])

LeaseId = Annotated[
    UUID,
    Path(
        description="As it came with the replay.",
        openapi_examples={"one": {"value": examples.REPLAY_LEASE}},
    ),
]

_FIRST: Final[Node] = {"lease_id": "$response.body#/tasks/0/lease_id"}
LINKS: Final[Node] = {
    "replayed": {
        "operationId": "replayed",
        "parameters": _FIRST,
        "description": "Say what came of the first one.",
    },
    "nack_replay": {
        "operationId": "nack_replay",
        "parameters": _FIRST,
        "description": "Give the first one back.",
    },
}


@router.post(
    "/lease",
    operation_id="lease_replays",
    responses={200: {"links": LINKS}, **refusals(400, 401, 403, 413, 422, 503)},
)
async def lease(
    body: Annotated[ReplayLease, Body(openapi_examples=examples.REPLAYS_LEASED)],
    replays: TheReplays,
) -> ReplaysLeased:
    """Takes answers to make again, pairs first, then oldest first. A lease ends by itself."""
    return ReplaysLeased(tasks=await replays.take(body))


@router.post(
    "/{lease_id:uuid}",
    status_code=204,
    operation_id="replayed",
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
)
async def replayed(
    lease_id: LeaseId,
    body: Annotated[ReplayResult, Body(openapi_examples=examples.REPLAYED)],
    replays: TheReplays,
) -> None:
    """Says what came of a replay. It is said once: what was said first stands."""
    await replays.end(lease_id, body)


@router.post(
    "/{lease_id:uuid}/nack",
    status_code=204,
    operation_id="nack_replay",
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
)
async def nack(
    lease_id: LeaseId,
    body: Annotated[GivenBack, Body(openapi_examples=examples.NACK)],
    replays: TheReplays,
) -> None:
    """Gives a replay back, to be tried again after a pause. The lease ends."""
    await replays.give_back(lease_id, body)
