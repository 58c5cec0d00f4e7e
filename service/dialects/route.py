"""A route whose errors have the shape that the dialect's clients read."""

import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.dialects.recognise import dialect_of
from service.disconnect import ClientLeft
from service.errors import PROBLEM, Told

logger = logging.getLogger(__name__)


class DialectRoute(APIRoute):
    """Answers every error itself, in the dialect of the body, as far as the body can be read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except (ClientLeft, ClientDisconnect):
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, its shape is the dialect's
                return _refused(await _body(request), error)

        return handled


def _refused(body: object, error: Exception) -> Response:
    told = Told.of(error)
    if told.status >= 500:  # noqa: PLR2004
        logger.error("rerank.failed error=%s", type(error).__name__, exc_info=error)
    dialect = dialect_of(body)
    status, content = dialect.refused(told)
    media_type = PROBLEM if "type" in content else "application/json"
    return JSONResponse(content, status, headers=dict(told.headers), media_type=media_type)


async def _body(request: Request) -> object:
    """What was sent, read once more; None where it is no JSON."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError, RuntimeError, ClientDisconnect):
        return None
