"""Requests that no HTTP library would send, byte by byte over plain sockets.

A hostile client may get an answer or a closed connection; it may not get a 5xx, and nobody else may wait for it.
"""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from typing import Final, TypeAlias

from bench.fuzz.tally import Tally
from bench.fuzz.target import Target

ANSWER_S: Final = 10.0
PAUSE_S: Final = 0.05
SLOW: Final = 50
"""Connections that dawdle while others are served."""

BODY: Final = json.dumps({"query": "who", "documents": ["a", "b"]}).encode()
Pieces: TypeAlias = list[bytes]
"""What is sent, one piece after another."""
Case: TypeAlias = Callable[[random.Random, bytes], Pieces]
"""Makes the pieces of one connection; the bytes are the headers that let it in."""


def attack(target: Target, *, requests: int, seed: int) -> Tally:
    """So many connections, each with a case drawn by the seed."""
    tally, rng = Tally(), random.Random(seed)  # noqa: S311 -- a seeded draw, no secret
    admitted = f"host: x\r\nauthorization: Bearer {target.key}\r\n".encode()
    names = sorted(CASES)
    while tally.requests < requests:
        name = rng.choice(names)
        patience_s = rng.choice((0.0, 0.0, PAUSE_S))
        _send(target, CASES[name](rng, admitted), tally=tally, name=name, patience_s=patience_s)
        if tally.requests % 500 == 0:
            _dawdle(target, admitted, tally=tally)
    return tally


def _send(target: Target, pieces: Pieces, *, tally: Tally, name: str, patience_s: float) -> None:
    """patience_s: without a word from the service, we stop listening to it after so long, and say so."""
    with socket.create_connection(target.address, timeout=ANSWER_S) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            said = _until_silence(client, patience_s)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(ANSWER_S)
            said += _all_of(client)
        except TimeoutError:
            tally.find(f"{name}: neither an answer nor a farewell in {ANSWER_S:.0f} s")
            return
        except OSError:
            said = b""  # it hung up on us while we spoke, as it may
    answers = list(_answers(said))
    for status, body in answers:
        tally.count(status, body, of=name)
    if not answers:
        tally.statuses["none"] += 1


def _until_silence(client: socket.socket, patience_s: float) -> bytes:
    client.settimeout(patience_s)
    said = BytesIO()
    with suppress(TimeoutError, BlockingIOError):
        while some := client.recv(1 << 16):
            said.write(some)
    return said.getvalue()


def _all_of(client: socket.socket) -> bytes:
    said = BytesIO()
    while some := client.recv(1 << 16):
        said.write(some)
    return said.getvalue()


def _answers(said: bytes) -> Iterator[tuple[int, bytes]]:
    """Each response on the connection, however many there are."""
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(b":") for line in lines)
        }
        status, length = int(first.split()[1]), int(headers.get(b"content-length", len(rest)))
        informs = status < 200  # noqa: PLR2004 -- the answer itself is yet to come
        body, said = (b"", rest) if informs else (rest[:length], rest[length:])
        if not informs:
            yield status, body


def _dawdle(target: Target, admitted: bytes, *, tally: Tally) -> None:
    """Many clients that stop in the middle of a request do not keep another one waiting."""
    halves = (_post(admitted, BODY)[:-5], b"POST /v1/rerank HTTP/1.1\r\nhos", b"")
    with ExitStack() as stack:
        for place in range(SLOW):
            client = stack.enter_context(socket.create_connection(target.address, timeout=ANSWER_S))
            client.sendall(halves[place % len(halves)])
        start = time.monotonic()
        request = _post(admitted, BODY, b"connection: close\r\n")
        before = tally.statuses["200"]
        _send(target, [request], tally=tally, name="patient", patience_s=ANSWER_S / 2)
        if tally.statuses["200"] == before or time.monotonic() - start > ANSWER_S / 2:
            tally.find(f"beside {SLOW} slow clients there was no answer in time")


def _post(admitted: bytes, body: bytes, more: bytes = b"", *, length: object = None) -> bytes:
    size = len(body) if length is None else length
    head = b"POST /v1/rerank HTTP/1.1\r\n" + admitted + b"content-type: application/json\r\n" + more
    return head + f"content-length: {size}\r\n\r\n".encode() + body


def _chunked(admitted: bytes, chunks: bytes) -> bytes:
    head = b"POST /v1/rerank HTTP/1.1\r\n" + admitted + b"content-type: application/json\r\n"
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks


def _noise(rng: random.Random, admitted: bytes) -> Pieces:
    del admitted
    return [rng.randbytes(rng.randint(1, 2000))]


def _bent(rng: random.Random, admitted: bytes) -> Pieces:
    """A good request with some bytes changed, anywhere."""
    request = bytearray(_post(admitted, BODY))
    for _ in range(rng.randint(1, 6)):
        request[rng.randrange(len(request))] = rng.randrange(256)
    return [bytes(request)]


def _wrong_length(rng: random.Random, admitted: bytes) -> Pieces:
    lengths = (
        0,
        1,
        len(BODY) - 1,
        len(BODY) + 9,
        -1,
        10**18,
        10**40,
        "x",
        "",
        "0x10",
        "1, 2",
        "+5",
        "5 ",
    )
    return [_post(admitted, BODY, length=rng.choice(lengths))]


def _two_lengths(rng: random.Random, admitted: bytes) -> Pieces:
    return [_post(admitted, BODY, f"content-length: {rng.randint(0, 99)}\r\n".encode())]


def _length_and_chunks(rng: random.Random, admitted: bytes) -> Pieces:
    more = rng.choice((b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n"))
    return [_post(admitted, b"5\r\nhello\r\n0\r\n\r\n", more)]


def _bad_chunks(rng: random.Random, admitted: bytes) -> Pieces:
    chunks = (
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhel",
        b"ffffffffffffffffff\r\nhello\r\n",
        b"5;" + b"x" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"0\r\ntrailer: " + b"y" * rng.choice((1_000, 200_000)) + b"\r\n\r\n",
        b"1\r\n{\r\n" * 500 + b"0\r\n\r\n",
        b"",
    )
    return [_chunked(admitted, rng.choice(chunks))]


def _endless_chunks(rng: random.Random, admitted: bytes) -> Pieces:
    some = b"10000\r\n" + b" " * (1 << 16) + b"\r\n"
    return [_chunked(admitted, b""), *[some] * rng.randint(1, 40)]


def _huge_head(rng: random.Random, admitted: bytes) -> Pieces:
    size = rng.choice((1 << 12, 1 << 16, 1 << 18, 1 << 21))
    return rng.choice(
        (
            [b"GET /healthz?", b"q" * size, b" HTTP/1.1\r\nhost: x\r\n\r\n"],
            [b"GET /healthz HTTP/1.1\r\nx: ", b"v" * size, b"\r\n\r\n"],
            [b"GET /healthz HTTP/1.1\r\n", b"n" * size, b": v\r\n\r\n"],
            [b"GET /healthz HTTP/1.1\r\n", b"a: b\r\n" * (size // 6), b"\r\n"],
            [_post(admitted, BODY, b"idempotency-key: " + b"k" * size + b"\r\n")],
        )
    )


def _pipelined(rng: random.Random, admitted: bytes) -> Pieces:
    some = (
        _post(admitted, BODY),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        _post(admitted, b"{"),
    )
    return [b"".join(rng.choices(some, k=rng.randint(2, 12)))]


def _aborted(rng: random.Random, admitted: bytes) -> Pieces:
    request = _post(admitted, BODY)
    return [request[: rng.randrange(1, len(request))]]


def _in_drops(rng: random.Random, admitted: bytes) -> Pieces:
    request = _post(admitted, BODY)
    cuts = sorted(rng.sample(range(1, len(request)), k=10))
    return [request[a:b] for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True)]


def _odd_start(rng: random.Random, admitted: bytes) -> Pieces:
    lines = (
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.0",
        b"GET /healthz",
        b"get /healthz HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT example.com:443 HTTP/1.1",
        b"GET http://example.com/healthz HTTP/1.1",
        b"GET //healthz HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"GET /%ff%fe HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /v1/models?line=%00 HTTP/1.1",
        b"GET /v1/models?line=%ff&limit=%31 HTTP/1.1",
        b"GET /v1/models?line=" + b"%20" * 300 + b" HTTP/1.1",
        b"GET /v1/decisions/%2e%2e/x HTTP/1.1",
        b"TRACE /v1/rerank HTTP/1.1",
        b"BREW /v1/rerank HTTP/1.1",
    )
    return [rng.choice(lines) + b"\r\n" + admitted + b"connection: close\r\n\r\n"]


def _odd_header(rng: random.Random, admitted: bytes) -> Pieces:
    headers = (
        b"expect: 100-continue\r\n",
        b"expect: 200-ok\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n",
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n",
        b"content-encoding: gzip\r\n",
        b"content-type: application/json; charset=utf-16\r\n",
        b"content-type: multipart/form-data; boundary=\r\n",
        b"idempotency-key: \xff\xfe\r\n",
        b"idempotency-key: \r\n",
        b"authorization: Bearer \xff\r\n",
        b"x: y\n",
        b" folded: y\r\n",
        b"x : y\r\n",
        b": y\r\n",
        b"x: \x00\r\n",
    )
    return [_post(admitted, BODY, rng.choice(headers))]


CASES: Final[dict[str, Case]] = {
    case.__name__.strip("_"): case
    for case in (
        _noise,
        _bent,
        _wrong_length,
        _two_lengths,
        _length_and_chunks,
        _bad_chunks,
        _endless_chunks,
        _huge_head,
        _pipelined,
        _aborted,
        _in_drops,
        _odd_start,
        _odd_header,
    )
}
