"""A connection whose requests have heads of bounded size; uvicorn's own keeps whatever comes, until memory ends."""

import json
from typing import Final

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import PROBLEM, Told

MAX_HEAD_BYTES: Final = 64 << 10
"""Of a request line and its headers, or of those after a chunked body; checked as they come, so that a little more is
read."""
_TOO_LARGE: Final = Told(
    status=431, detail="the request line and headers are larger than they may be"
)


class Connection(HttpToolsProtocol):
    """uvicorn's, which ends when a head grows too large, and takes the request that is being answered with it."""

    _head_bytes: int = 0
    _is_in_head: bool = False
    _answering: RequestResponseCycle | None = None
    """The oldest request; uvicorn knows the newest one, and would write the other's answer to nobody."""

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._end_head()

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        # What follows the last chunk are headers again.
        self._is_in_head, self._head_bytes = True, 0

    def on_body(self, body: bytes) -> None:
        self._is_in_head = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_head = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._hang_up()
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hang_up()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _end_head(self) -> None:
        self._hang_up()
        if not self.transport.is_closing():
            self.transport.write(_response())
            self.transport.close()

    def _hang_up(self) -> None:
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()


def _response() -> bytes:
    body = json.dumps(_TOO_LARGE.problem()).encode()
    head = (
        "HTTP/1.1 431 Request Header Fields Too Large\r\n"
        f"content-type: {PROBLEM}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
