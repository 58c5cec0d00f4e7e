"""`/v1/feedback`: one statement, a batch of them, and the way to take one back."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body, Header, Path, Query, Response
from pydantic import ValidationError

from contract.records import Source
from service import errors, examples
from service.callers import TOKEN, Caller
from service.dependencies import TheCaller, needs
from service.errors import Forbidden, HttpRefusal
from service.feedback import Outcome, Said, Statements
from service.keys import Scope
from service.openapi import Node, refusals
from service.schemas.feedback import Batch, Feedback, Kept, Refused, Results
from service.stores import TheStatements
from service.texts import Name

MAX_BATCH_BYTES: Final = 2 << 20
AT_ONCE: Final = 100
"""Statements of a batch that share a transaction; between two, other requests have their turn."""

router = APIRouter(tags=["feedback"])

IdempotencyKey = Annotated[
    Name | None,
    Header(
        alias="Idempotency-Key",
        description="Yours: what comes again with the same key and body is stored once.",
    ),
]
FeedbackId = Annotated[
    UUID,
    Path(
        description="As it was given when the statement was stored.",
        openapi_examples={"one": {"value": examples.FEEDBACK}},
    ),
]
DecisionId = Annotated[
    UUID,
    Query(
        description="The decision that it speaks of.",
        openapi_examples={"one": {"value": examples.DECISION}},
    ),
]

LINKS: Final[Node] = {
    "take_back": {
        "operationId": "take_back",
        "parameters": {
            "feedback_id": "$response.body#/feedback_id",
            "decision_id": "$response.body#/decision_id",
        },
        "description": "Take it back.",
    }
}


@router.post(
    "/v1/feedback",
    operation_id="say",
    responses={
        200: {"links": LINKS},
        202: {"model": Kept, "description": "The decision is on its way", "links": LINKS},
        **refusals(400, 401, 403, 404, 409, 410, 413, 422, 503),
    },
    dependencies=[needs(Scope.FEEDBACK, Scope.JUDGE, TOKEN)],
)
async def say(
    body: Annotated[Feedback, Body(openapi_examples=examples.STATEMENT)],
    response: Response,
    statements: TheStatements,
    caller: TheCaller,
    idempotency_key: IdempotencyKey = None,
) -> Kept:
    """Stores one statement about a decision, its answer or one of its documents."""
    if caller.decision_id is not None:
        _refuse_beyond_token(caller, body)
        await statements.must_have_room(body.decision_id)
    (outcome,) = await statements.store([Said(body=body, key=idempotency_key)])
    if isinstance(outcome, HttpRefusal):
        raise outcome
    if outcome.status == "pending":
        response.status_code = 202
    return outcome


@router.post(
    "/v1/feedback/batch",
    status_code=207,
    operation_id="say_all",
    responses=refusals(400, 401, 403, 413, 422, 503),
    max_body_size=MAX_BATCH_BYTES,
    dependencies=[needs(Scope.FEEDBACK, Scope.JUDGE)],
)
async def say_all(
    body: Annotated[Batch, Body(openapi_examples=examples.BATCH)],
    statements: TheStatements,
    idempotency_key: IdempotencyKey = None,
) -> Results:
    """Stores many statements, each for itself: one result for each, in order."""
    results: list[Kept | Refused] = []
    for start in range(0, len(body.items), AT_ONCE):
        some = enumerate(body.items[start : start + AT_ONCE], start)
        read = [_read(item, _key(idempotency_key, place)) for place, item in some]
        results += await _store(statements, read)
    return Results(results=results)


@router.delete(
    "/v1/feedback/{feedback_id:uuid}",
    operation_id="take_back",
    responses=refusals(401, 403, 404, 422, 503),
    dependencies=[needs(Scope.FEEDBACK)],
)
async def take_back(
    feedback_id: FeedbackId, decision_id: DecisionId, statements: TheStatements
) -> Kept:
    """Takes a statement back: from now on it counts for nothing. It stays in the log."""
    return await statements.retract(feedback_id, decision_id=decision_id)


def _refuse_beyond_token(caller: Caller, body: Feedback) -> None:
    """A browser's user speaks as one, and of the decision whose token it has.  Raises `Forbidden`."""
    if body.decision_id != caller.decision_id:
        raise Forbidden("decision_id: the feedback token is for another decision")
    if body.source.type is not Source.END_USER:
        raise Forbidden("source.type: with a feedback token it is END_USER")


async def _store(statements: Statements, read: list[Said | Refused]) -> list[Kept | Refused]:
    outcomes = iter(await statements.store([item for item in read if isinstance(item, Said)]))
    return [_result(next(outcomes)) if isinstance(item, Said) else item for item in read]


def _key(idempotency_key: str | None, place: int) -> str | None:
    return None if idempotency_key is None else f"{idempotency_key} {place}"


def _read(item: object, key: str | None) -> Said | Refused:
    try:
        return Said(body=Feedback.model_validate(item), key=key)
    except ValidationError as error:
        listed = errors.listed(error.errors(include_input=False, include_context=False))
        return Refused(code=422, type=errors.urn(errors.Invalid), detail=listed)


def _result(outcome: Outcome) -> Kept | Refused:
    if isinstance(outcome, HttpRefusal):
        return Refused(code=outcome.status, type=errors.urn(type(outcome)), detail=str(outcome))
    return outcome
