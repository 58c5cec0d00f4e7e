"""What the service will not do, and how it says so: RFC 9457 problems that never echo the input.

FastAPI answers 500 to some inputs it correctly refuses (NaN, lone surrogates), because its own body repeats them;
the handlers here repeat nothing but field names, cut short.
"""

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from http.client import responses
from typing import Any, ClassVar, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from contract.refusals import Refusal

logger = logging.getLogger(__name__)

MAX_PROBLEM_BYTES: Final = 1024
_MAX_DETAIL: Final = 600
_MAX_NAME: Final = 40
_MAX_LISTED: Final = 5


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "A refusal",
        "content": {
            "application/problem+json": {
                "schema": {
                    "title": "Problem",
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
}
"""What OpenAPI says of every route, in place of FastAPI's own body of a 422."""


class HttpRefusal(Refusal):
    """A request that was understood and is not served."""

    status: ClassVar[int] = 422
    retry_after_s: ClassVar[int | None] = None
    """When to come back, at the earliest."""
    headers: ClassVar[Mapping[str, str]] = {}


class Unauthorized(HttpRefusal):
    """There is no key, or none that works."""

    status = 401
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(HttpRefusal):
    """The key works, and not for this."""

    status = 403


class UnknownLine(HttpRefusal):
    """There is no line of models with that name."""

    status = 404


class NoModelYet(HttpRefusal):
    """The line exists, or may exist soon, and this replica has no model of it yet."""

    status = 503
    retry_after_s = 5


class Overloaded(HttpRefusal):
    """More work waits than can be done soon."""

    status = 429
    retry_after_s = 1


class Invalid(HttpRefusal):
    """The request has the right shape and contradicts itself or a limit."""


class KeyReused(HttpRefusal):
    """The Idempotency-Key came before with another body."""


class DatabaseAway(HttpRefusal):
    """Postgres does not answer. Nothing was acknowledged: send it again, with the same key."""

    status = 503
    retry_after_s = 2


def register(app: FastAPI) -> None:
    """Every refusal, rejected body and crash of this app becomes a problem."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _away)
    app.add_exception_handler(Exception, _crashed)


def problem(
    status: int, detail: str, *, kind: str = "about:blank", headers: Mapping[str, str] | None = None
) -> Response:
    """One `application/problem+json` response of at most `MAX_PROBLEM_BYTES`."""
    body = {
        "type": kind,
        "title": responses.get(status, "Refused"),
        "status": status,
        "detail": printable(detail, _MAX_DETAIL),
    }
    return Response(
        json.dumps(body), status, media_type="application/problem+json", headers=dict(headers or {})
    )


def printable(text: str, limit: int) -> str:
    """The beginning of a text, in printable ASCII."""
    ascii_only = text[:limit].encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in ascii_only)


async def _refused(request: Request, refusal: Exception) -> Response:
    del request
    retry_after_s = getattr(refusal, "retry_after_s", None)
    return problem(
        getattr(refusal, "status", HttpRefusal.status),
        str(refusal),
        kind=urn(type(refusal)),
        headers={
            **getattr(refusal, "headers", HttpRefusal.headers),
            **({} if retry_after_s is None else _retry_after(retry_after_s)),
        },
    )


def _retry_after(seconds: int) -> dict[str, str]:
    """Spread, so that all who were refused do not come back together."""
    return {"Retry-After": str(seconds + secrets.randbelow(seconds + 1))}


async def _invalid(request: Request, error: Exception) -> Response:
    del request
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem(422, listed(found), kind=urn(Invalid))


def urn(refusal: type[Exception]) -> str:
    """The `type` of a problem: the refusal's name."""
    return f"urn:rankloop:{refusal.__name__}"


def listed(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first few of pydantic's complaints, each with its place."""
    said = [f"{_place(error['loc'])}: {error['msg']}" for error in errors[:_MAX_LISTED]]
    if len(errors) > _MAX_LISTED:
        said.append(f"and {len(errors) - _MAX_LISTED} more")
    return "; ".join(said)


def _place(location: Sequence[str | int]) -> str:
    return ".".join(printable(str(part), _MAX_NAME) for part in location)


async def _http(request: Request, error: Exception) -> Response:
    del request
    if not isinstance(error, HTTPException):
        return problem(500, "something went wrong")
    return problem(error.status_code, error.detail, headers=error.headers)


async def _away(request: Request, error: Exception) -> Response:
    logger.warning("database.away error=%s", type(error).__name__)
    return await _refused(request, DatabaseAway("the database does not answer"))


async def _crashed(request: Request, error: Exception) -> Response:
    del request, error
    return problem(500, "something went wrong on our side; the log of the service says what")
