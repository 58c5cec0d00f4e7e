"""What may go wrong between an app and the service, each a class of its own; all are `RankloopError`."""

from typing import Any, Final

import httpx

from rankloop.client.retries import retry_after_s

_SERVER_ERROR: Final = 500
_MAX_DETAIL: Final = 200


class RankloopError(Exception):
    """Anything that the client raises."""


class Unreachable(RankloopError):
    """Nobody answered, however often it was tried."""


class Unreadable(RankloopError):
    """Somebody answered who is no Rankloop, or a newer one than this client can read."""


class APIError(RankloopError):
    """The service answered and said no."""

    status: int
    type: str
    """The refusal's name as the service has it: `urn:rankloop:AnsweredOtherwise`."""
    detail: str
    """Why, in the service's words."""
    retry_after_s: float | None
    """How long the service wants to be left alone, where it said so."""

    def __init__(
        self, status: int, detail: str, *, kind: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.type, self.detail = status, kind, detail
        self.retry_after_s = retry_after_s


class Invalid(APIError):
    """The request is not what the endpoint takes; `detail` names the field."""


class AuthenticationError(APIError):
    """The API key is missing, unknown, or may not do this."""


class NotFound(APIError):
    """There is no such decision, feedback or line."""


class Conflict(APIError):
    """It contradicts what is stored: this decision was answered before, and otherwise."""


class Gone(APIError):
    """The id is one of ours, and what it named is no longer stored."""


class Overloaded(APIError):
    """More work waits than can be done soon; nothing was stored."""


class Unavailable(APIError):
    """The service, or what stands before it, cannot answer now; nothing was acknowledged."""


_BY_STATUS: Final[dict[int, type[APIError]]] = {
    400: Invalid,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
    429: Overloaded,
}


def error_of(response: httpx.Response) -> APIError:
    """The error that a refusal is, whoever refused: a proxy's page has no `type` and its own words."""
    problem = _problem(response)
    error = _BY_STATUS.get(response.status_code)
    if error is None:
        error = Unavailable if response.status_code >= _SERVER_ERROR else APIError
    return error(
        response.status_code,
        str(problem.get("detail") or response.text[:_MAX_DETAIL] or response.reason_phrase),
        kind=str(problem.get("type", "about:blank")),
        retry_after_s=retry_after_s(response),
    )


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
