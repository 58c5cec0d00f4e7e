"""What the service will not do, and how it says so: RFC 9457 problems that never echo the input.

FastAPI answers 500 to some inputs it correctly refuses (NaN, lone surrogates), because its own body repeats them;
the handlers here repeat nothing but field names, cut short.
"""

import json
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, ClassVar, Final, Self

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from contract.refusals import Refusal

logger = logging.getLogger(__name__)

PROBLEM: Final = "application/problem+json"
MAX_PROBLEM_BYTES: Final = 1024
METHOD_NOT_ALLOWED: Final = 405
AWAY: Final = (OperationalError, InterfaceError, PoolTimeout)
"""How it shows that Postgres does not answer."""
_MAX_DETAIL: Final = 600
_MAX_NAME: Final = 40
_MAX_LISTED: Final = 5


class HttpRefusal(Refusal):
    """A request that was understood and is not served."""

    status: ClassVar[int] = 422
    retry_after_s: int | None = None
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
    """More work waits than can be done soon; seconds are rounded up to whole ones, one at least."""

    status = 429

    def __init__(self, reason: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


class Invalid(HttpRefusal):
    """The request has the right shape and contradicts itself or a limit."""


class TooMany(Invalid):
    """More documents than this service takes."""


class TooLong(Invalid):
    """A document does not fit the model, and was not to be cut."""


class KeyReused(HttpRefusal):
    """The Idempotency-Key came before with another body."""


class RedisAway(HttpRefusal):
    """Redis does not answer: ask again."""

    status = 503
    retry_after_s = 2


class DatabaseAway(HttpRefusal):
    """Postgres does not answer. Nothing was acknowledged: send it again, with the same key."""

    status = 503
    retry_after_s = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said of an error: enough for a body of any shape."""

    status: int
    detail: str
    name: str | None = None
    """Of the refusal; None where the status says it all."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Nothing of an error that is not ours is repeated."""
        if isinstance(error, RequestValidationError):
            found = error.errors()
            return cls(status=422, detail=listed(found), name=Invalid.__name__)
        if isinstance(error, HTTPException):
            return cls(
                status=error.status_code, detail=str(error.detail), headers=error.headers or {}
            )
        if isinstance(error, AWAY):
            return cls.of(DatabaseAway("the database does not answer"))
        if isinstance(error, Refusal):
            return cls._of_refusal(error)
        return cls(
            status=500, detail="something went wrong on our side; the log of the service says what"
        )

    @classmethod
    def _of_refusal(cls, refusal: Refusal) -> Self:
        retry_after_s = getattr(refusal, "retry_after_s", None)
        return cls(
            status=getattr(refusal, "status", HttpRefusal.status),
            detail=str(refusal),
            name=type(refusal).__name__,
            headers={
                **getattr(refusal, "headers", HttpRefusal.headers),
                **({} if retry_after_s is None else _retry_after(retry_after_s)),
            },
        )

    def problem(self, *, limit: int = _MAX_DETAIL) -> dict[str, Any]:
        """As RFC 9457 has it, with so many characters of detail at most."""
        return {
            "type": "about:blank" if self.name is None else f"urn:rankloop:{self.name}",
            "title": responses.get(self.status, "Refused"),
            "status": self.status,
            "detail": printable(self.detail, limit),
        }

    def response(self) -> Response:
        """One `application/problem+json` response of at most `MAX_PROBLEM_BYTES`."""
        return Response(
            json.dumps(self.problem()),
            self.status,
            media_type=PROBLEM,
            headers=dict(self.headers),
        )


def register(app: FastAPI) -> None:
    """Every refusal, rejected body and crash of this app becomes a problem."""
    for kind in (Refusal, RequestValidationError, HTTPException, *AWAY, Exception):
        app.add_exception_handler(kind, _respond)


async def _respond(request: Request, error: Exception) -> Response:
    if isinstance(error, AWAY):
        logger.warning("database.away error=%s", type(error).__name__)
    response = Told.of(error).response()
    # Of a path with several methods, the router's own list has the first one alone.
    if response.status_code == METHOD_NOT_ALLOWED and (methods := _methods(request)):
        response.headers["Allow"] = ", ".join(methods)
    return response


def _methods(request: Request) -> list[str]:
    """What the document says that the path takes; nothing for a path with parameters."""
    operations = request.app.openapi()["paths"].get(request.url.path, {})
    return [method.upper() for method in operations]


def printable(text: str, limit: int) -> str:
    """The beginning of a text, in printable ASCII."""
    ascii_only = text[:limit].encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in ascii_only)


def _retry_after(seconds: int) -> dict[str, str]:
    """Spread, so that all who were refused do not come back together."""
    return {"Retry-After": str(seconds + secrets.randbelow(seconds + 1))}


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
