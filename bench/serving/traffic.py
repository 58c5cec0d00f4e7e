"""Requests on a service from a process of its own: an open loop, whose arrivals are fixed in advance, or a closed one.

The open loop waits for nobody: a request is due when the schedule says so, and its latency counts from there, however
late it was sent. Its bodies are written before the clock starts. The client is a bare one, for it shares the machine
with what it measures; it says how much of a core it took.
"""

import asyncio
import gc
import json
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

import uvloop

from bench.serving.texts import MOST_TOKENS, Texts

SMALL: Final = 10
LARGE: Final = 200
LARGE_SHARE: Final = 0.1
IDLE_S: Final = 2.0
"""A connection that nobody used for so long is not used again: the server may be about to close it."""
FAILED: Final = 0
"""The status of a request that got no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, ready to send."""

    at_s: float
    """When it is due, after the start."""
    documents: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request."""

    at_s: float
    """When it was due, after the start; in a closed loop, when it was sent."""
    documents: int
    status: int
    latency_s: float
    """From when it was due to the last byte of the answer."""
    late_s: float
    """How long after that it was sent."""
    retry_after_s: int | None
    version: str
    reply: bytes
    """Empty unless it was asked for."""

    @property
    def ok(self) -> bool:
        return self.status == 200  # noqa: PLR2004 -- HTTP's OK

    @property
    def done_s(self) -> float:
        return self.at_s + self.latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All answers of one run, in the order they came in."""

    answers: Sequence[Answer]
    began_at: float
    """By the monotonic clock, which all processes of a machine share."""
    seconds: float
    client_cores: float
    """Of the process that asked, during the run."""


class Shape(Protocol):
    """Draws how many documents a request has, and of how many tokens each (None: lognormal)."""

    def draw(self, rng: random.Random) -> tuple[int, int | None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Nine small requests for a large one."""

    def draw(self, rng: random.Random) -> tuple[int, int | None]:
        return (LARGE if rng.random() < LARGE_SHARE else SMALL), None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """All alike."""

    documents: int
    tokens: int | None = None

    def draw(self, _rng: random.Random) -> tuple[int, int | None]:
        return self.documents, self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Anything:
    """Each shape as likely as any other."""

    most_documents: int
    most_tokens: int = MOST_TOKENS

    def draw(self, rng: random.Random) -> tuple[int, int | None]:
        return rng.randint(1, self.most_documents), rng.randint(1, self.most_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Small and large requests that arrive independently of each other, each as a Poisson process."""

    small_per_s: float
    large_per_s: float
    seconds: float
    arrivals: int
    """The seed of when they come: small ones come at the same moments whether or not large ones do."""
    texts: int
    """The seed of what they say."""
    data: Path | None
    keep: bool = False
    """Whether answers keep the reply; it then has raw scores."""

    def calls(self) -> list[Call]:
        due = [
            *((at_s, SMALL) for at_s in self._due("small", self.small_per_s)),
            *((at_s, LARGE) for at_s in self._due("large", self.large_per_s)),
        ]
        texts = Texts(self.texts, self.data)
        return [
            Call(at_s=at_s, documents=size, body=body(texts, size, None, raw_scores=self.keep))
            for at_s, size in sorted(due)
        ]

    def _due(self, kind: str, per_s: float) -> Iterator[float]:
        rng = random.Random(f"{kind} {self.arrivals}")  # noqa: S311 -- a seeded draw, no secret
        at_s = rng.expovariate(per_s) if per_s else self.seconds
        while at_s < self.seconds:
            yield at_s
            at_s += rng.expovariate(per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """So many callers, each of whom asks again as soon as it is answered, or told to by a refusal."""

    shape: Shape
    callers: int
    seconds: float = float("inf")
    requests: int | None = None
    """It ends after so many, or after the seconds."""
    seed: int
    data: Path | None


def body(texts: Texts, documents: int, tokens: int | None, *, raw_scores: bool = False) -> bytes:
    query, chosen = texts.request(documents, tokens)
    asked = {"query": query, "documents": chosen, **({"raw_scores": True} if raw_scores else {})}
    return json.dumps(asked, ensure_ascii=False).encode()


class Generator:
    """The process; it keeps its texts from one run to the next."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def start_open(self, url: str, load: Open) -> Future[Outcome]:
        return self._pool.submit(_run, open_loop, url, load)

    def start_closed(self, url: str, load: Closed) -> Future[Outcome]:
        return self._pool.submit(_run, closed_loop, url, load)


@contextmanager
def generator() -> Iterator[Generator]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield Generator(pool)


def _run(
    loop: Callable[[str, Any], Coroutine[Any, Any, Outcome]],
    url: str,
    load: Open | Closed,
) -> Outcome:
    return uvloop.run(loop(url, load))


async def open_loop(url: str, load: Open) -> Outcome:
    """Ends when the last answer has come."""
    calls, client = load.calls(), Client(url, keep=load.keep)
    with _Watch() as watch:
        tasks = []
        for call in calls:
            await asyncio.sleep(watch.began_at + call.at_s - time.monotonic())
            tasks.append(asyncio.create_task(client.answer(call, began_at=watch.began_at)))
        await asyncio.gather(*tasks)
    client.close()
    return watch.outcome([task.result() for task in tasks])


async def closed_loop(url: str, load: Closed) -> Outcome:
    """Ends when the last answer has come."""
    rng = random.Random(load.seed)  # noqa: S311 -- a seeded draw, no secret
    texts, client = Texts(load.seed, load.data), Client(url, keep=False)
    answers: list[Answer] = []
    numbers = iter(range(load.requests)) if load.requests else iter(int, 1)
    with _Watch() as watch:

        async def call() -> None:
            for _ in numbers:
                documents, tokens = load.shape.draw(rng)
                at_s = time.monotonic() - watch.began_at
                if at_s >= load.seconds:
                    return
                asked = Call(at_s=at_s, documents=documents, body=body(texts, documents, tokens))
                answers.append(await client.answer(asked, began_at=watch.began_at))
                await asyncio.sleep(answers[-1].retry_after_s or 0)

        await asyncio.gather(*(call() for _ in range(load.callers)))
    client.close()
    return watch.outcome(answers)


class _Watch:
    """The clock of one run. The collector rests meanwhile, so that no pause of ours counts as the service's."""

    began_at: float
    _ended_at: float

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        self._cpu_s = time.process_time()
        self.began_at = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended_at = time.monotonic()
        self._cpu_s = time.process_time() - self._cpu_s
        gc.enable()

    def outcome(self, answers: Sequence[Answer]) -> Outcome:
        seconds = self._ended_at - self.began_at
        return Outcome(
            answers=sorted(answers, key=lambda answer: answer.done_s),
            began_at=self.began_at,
            seconds=seconds,
            client_cores=self._cpu_s / seconds,
        )


@dataclass(slots=True)
class _Line:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at: float = field(default_factory=time.monotonic)


class Client:
    """HTTP as far as it takes: one POST at a time on each connection, and as many connections as it takes."""

    def __init__(self, url: str, *, keep: bool) -> None:
        place = urlsplit(url)
        self._host, self._port = str(place.hostname), int(place.port or 80)
        self._head = (
            f"POST /v1/rerank HTTP/1.1\r\nhost: {place.netloc}\r\n"
            "content-type: application/json\r\ncontent-length: "
        )
        self._keep = keep
        self._idle: list[_Line] = []

    async def answer(self, call: Call, *, began_at: float) -> Answer:
        sent_s = time.monotonic() - began_at
        try:
            head, reply = await self._ask(call.body)
        except (OSError, EOFError):
            head, reply = "HTTP/1.1 000", b""
        fields = _fields(head)
        retry_after = fields.get("retry-after")
        return Answer(
            at_s=call.at_s,
            documents=call.documents,
            status=int(head[9:12]),
            latency_s=time.monotonic() - began_at - call.at_s,
            late_s=sent_s - call.at_s,
            retry_after_s=None if retry_after is None else int(retry_after),
            version=fields.get("x-rankloop-version", ""),
            reply=reply if self._keep else b"",
        )

    def close(self) -> None:
        for line in self._idle:
            line.writer.close()
        self._idle.clear()

    async def _ask(self, asked: bytes) -> tuple[str, bytes]:
        line = await self._line()
        line.writer.write(f"{self._head}{len(asked)}\r\n\r\n".encode() + asked)
        head = (await line.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = _fields(head)
        reply = await line.reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            line.writer.close()
        else:
            line.used_at = time.monotonic()
            self._idle.append(line)
        return head, reply

    async def _line(self) -> _Line:
        """The one that was used last, or a new one."""
        while self._idle:
            line = self._idle.pop()
            if time.monotonic() - line.used_at < IDLE_S and not line.reader.at_eof():
                return line
            line.writer.close()
        return _Line(*await asyncio.open_connection(self._host, self._port))


def _fields(head: str) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in lines}
