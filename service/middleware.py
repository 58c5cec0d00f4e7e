"""What happens around every request; pure ASGI, because other middleware hides from a route that its client left."""

import time
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.dialects.dialect import Dialect
from service.errors import PROBLEM, Told
from service.metrics import Metrics

TOO_LARGE: Final = Told(status=413, detail="the body is larger than it may be")


class RequestMetrics:
    """Counts and times, by the path of the route and never by the path asked for: their number is bounded."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_s.labels(route).observe(time.perf_counter() - start)


class TooLargeIsAProblem:
    """The limit on bodies is FastAPI's, which says so in plain text; here it says it as every refusal is said."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def translated(message: Message) -> None:
            nonlocal replaced
            if _is_plain_413(message):
                replaced = True
                await _too_large()(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, translated)


def _too_large() -> Response:
    """Readable for the clients of other rerankers too: nobody knows whose body it would have been."""
    status, content = Dialect.refused(TOO_LARGE)
    return JSONResponse(content, status, media_type=PROBLEM)


def _is_plain_413(message: Message) -> bool:
    if message["type"] != "http.response.start" or message["status"] != TOO_LARGE.status:
        return False
    return Headers(raw=message["headers"])["content-type"].startswith("text/plain")
