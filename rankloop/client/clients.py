"""The two clients: they differ in how they wait, and in nothing else."""

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import httpx

from rankloop.client import calls
from rankloop.client.calls import Call
from rankloop.client.retries import Retries

P = ParamSpec("P")
T = TypeVar("T")

URL: Final = "http://127.0.0.1:8000"
TIMEOUT_S: Final = 10.0

_LOOPBACK: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")


def _now(build: Callable[P, Call[T]]) -> "Callable[Concatenate[Client, P], T]":
    """The call as a method that waits for the reply."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._do(build(*args, **kwargs))

    return _looks_like(build, method)


def _awaited(
    build: Callable[P, Call[T]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    """The call as a method to await."""

    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._do(build(*args, **kwargs))

    return _looks_like(build, method)


M = TypeVar("M", bound=Callable[..., Any])


def _looks_like(build: Callable[..., Any], method: M) -> M:
    """The method with the call's name, words and parameters, for `help` and for editors."""
    functools.update_wrapper(method, build)
    called = inspect.signature(build)
    self_ = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(method)["__signature__"] = called.replace(
        parameters=[self_, *called.parameters.values()], return_annotation=inspect.Signature.empty
    )
    return method


class Client:
    """Rankloop over HTTP. Safe to share between threads; make one and keep it.

    Every method may raise `rankloop.client.RankloopError`. What may help is tried again as `retries` says; nothing is
    stored twice by that.
    """

    rerank = _now(calls.rerank)
    answer = _now(calls.answer)
    feedback = _now(calls.feedback)
    feedback_batch = _now(calls.feedback_batch)
    delete_feedback = _now(calls.delete_feedback)
    decision = _now(calls.decision)
    match = _now(calls.match)

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = retries or Retries()
        self._http = httpx.Client(
            base_url=url,
            headers=_headers(api_key),
            timeout=timeout_s,
            transport=transport,
            # A proxy of the environment knows no loopback address.
            mounts=None if transport else dict.fromkeys(_LOOPBACK),
        )

    def _do(self, call: Call[T]) -> T:
        attempt = 1
        while True:
            outcome = self._outcome(call)
            pause_s = self._retries.pause_s(attempt, outcome)
            if pause_s is None:
                return call.result(outcome)
            time.sleep(pause_s)
            attempt += 1

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _outcome(self, call: Call[T]) -> httpx.Response | httpx.RequestError:
        try:
            return self._http.send(call.request(self._http))
        except httpx.RequestError as failure:
            return failure


class AsyncClient:
    """`Client` for asyncio."""

    rerank = _awaited(calls.rerank)
    answer = _awaited(calls.answer)
    feedback = _awaited(calls.feedback)
    feedback_batch = _awaited(calls.feedback_batch)
    delete_feedback = _awaited(calls.delete_feedback)
    decision = _awaited(calls.decision)
    match = _awaited(calls.match)

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries = retries or Retries()
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=_headers(api_key),
            timeout=timeout_s,
            transport=transport,
            mounts=None if transport else dict.fromkeys(_LOOPBACK),
        )

    async def _do(self, call: Call[T]) -> T:
        attempt = 1
        while True:
            outcome = await self._outcome(call)
            pause_s = self._retries.pause_s(attempt, outcome)
            if pause_s is None:
                return call.result(outcome)
            await asyncio.sleep(pause_s)
            attempt += 1

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _outcome(self, call: Call[T]) -> httpx.Response | httpx.RequestError:
        try:
            return await self._http.send(call.request(self._http))
        except httpx.RequestError as failure:
            return failure


def _headers(api_key: str | None) -> Mapping[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
