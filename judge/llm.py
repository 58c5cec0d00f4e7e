"""Calls to an OpenAI-compatible chat API: repeated while that helps, each paid for out of the day's budget."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import openai
from aiolimiter import AsyncLimiter
from openai import AsyncOpenAI
from pydantic import BaseModel, ValidationError

from judge.endpoint import Endpoint
from judge.prompt import Message
from judge.retries import Backoff
from judge.state import CapReached, Reservation, State

logger = logging.getLogger(__name__)

MINUTE_S: Final = 60.0
TEMPLATE_TOKENS: Final = 64
"""More than any chat template puts around two messages."""
CUT_OFF: Final = "length"
"""Why a reply ended that was longer than it may be."""
MAX_DETAIL: Final = 200
SERVER_ERROR: Final = 500
SURELY_AWAY: Final = frozenset(
    {"connection", "status_401", "status_403", "status_404", "status_429"}
)
PERHAPS_AWAY: Final = frozenset({"timeout", "status_408", "status_409"})


class LlmFailed(Exception):
    """The LLM gave no usable reply."""

    def __init__(self, kind: str, message: str, *, retry_after: str | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        """One of a few words, for metrics."""
        self.retry_after = retry_after
        """That header of the reply."""

    @property
    def is_surely_away(self) -> bool:
        """Whether it is not for what was asked: no other question would fare better."""
        return self.kind in SURELY_AWAY

    @property
    def may_be_away(self) -> bool:
        return self.is_surely_away or self.kind in PERHAPS_AWAY or self.kind.startswith("status_5")

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed a moment later."""
        lasting = {"status_401", "status_403", "status_404", "refused"}
        return self.kind not in lasting and (self.may_be_away or self.kind == "malformed")


class Usage(BaseModel):
    """What a call took, as far as the API says."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """A reply, by whom, and what it cost."""

    text: str
    truncated: bool
    """Whether the reply was longer than it may be."""
    model: str
    usage: Usage
    cost: int
    """In picos."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Response(BaseModel):
    model: str | None = None
    choices: list[_Choice]
    usage: Usage = Usage()


class Llm:
    """An OpenAI-compatible API."""

    def __init__(
        self,
        client: AsyncOpenAI,
        endpoint: Endpoint,
        state: State,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._state = state
        self._backoff = backoff or Backoff()
        self._limiter = AsyncLimiter(1, MINUTE_S / endpoint.calls_per_minute)
        self._knows_schemas = True
        self._refused = 0
        self._under_way = 0
        self._settled = asyncio.Condition()
        self.address = str(client.base_url)
        self.provider = client.base_url.host
        self.params = endpoint.params

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, endpoint: Endpoint, state: State, *, backoff: Backoff | None = None
    ) -> AsyncIterator[Self]:
        key = endpoint.key
        client = AsyncOpenAI(
            base_url=endpoint.url,
            api_key=key.get_secret_value() if key else "none",
            timeout=endpoint.timeout_s,
            max_retries=0,  # each attempt is paid for and counted by itself
        )
        async with client:
            yield cls(client, endpoint, state, backoff=backoff)

    @property
    def model(self) -> str:
        return self._endpoint.model

    def can_pay(self) -> bool:
        """Whether today's money suffices for the call that it last did not suffice for, or for any."""
        return self._state.has_room(max(self._refused, 1))

    async def ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any] | None = None
    ) -> Completion:
        """schema: of the reply, for APIs that can hold to one.  Raises `LlmFailed`, `CapReached`."""
        attempt = 0
        while True:
            try:
                return await self._ask_once(messages, schema)
            except LlmFailed as failure:
                attempt += 1
                if attempt == self._endpoint.attempts or not failure.may_pass:
                    raise
                wait_s = self._backoff.wait_s(attempt - 1, failure.retry_after)
                logger.info("llm.retry attempt=%d reason=%s", attempt, failure)
            await asyncio.sleep(wait_s)

    async def _ask_once(
        self, messages: Sequence[Message], schema: Mapping[str, Any] | None
    ) -> Completion:
        if schema is None or not self._knows_schemas:
            return await self._call(messages)
        try:
            return await self._call(messages, response_format=_format(schema))
        except LlmFailed as refused:
            if refused.kind not in {"status_400", "status_422"}:
                raise
            completion = await self._call(messages)
        # It was the schema then, and not the prompt.
        self._knows_schemas = False
        logger.info("llm.without_schemas provider=%s", self.provider)
        return completion

    async def _call(self, messages: Sequence[Message], **extra: object) -> Completion:
        """One call, paid for."""
        await self._limiter.acquire()
        reservation = await self._reserved(self._bound(messages, extra))
        cost = reservation.cost  # where the call is cut off, nobody knows whether it is billed
        try:
            response = await self._response(messages, extra)
            cost = self._billed(response.usage, reservation.cost)
            return Completion(
                text=_text(response),
                truncated=response.choices[0].finish_reason == CUT_OFF,
                model=(response.model or self.model)[:MAX_DETAIL],
                usage=response.usage,
                cost=cost,
            )
        except openai.APIStatusError as refused:
            if refused.status_code < SERVER_ERROR:
                cost = 0
            raise _failure(refused) from refused
        except (openai.APITimeoutError, TimeoutError) as late:
            raise LlmFailed("timeout", f"no reply in {self._endpoint.timeout_s:g} s") from late
        except openai.APIConnectionError as away:
            raise LlmFailed("connection", type(away.__cause__ or away).__name__) from away
        finally:
            await self._settle(reservation, cost)

    async def _response(
        self, messages: Sequence[Message], extra: Mapping[str, object]
    ) -> _Response:
        # The client's own limit is for one read: a server may drip.
        async with asyncio.timeout(self._endpoint.timeout_s):
            raw = await self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=list(messages),  # type: ignore[arg-type] # a union of ten typed dicts
                extra_body={**self.params, **extra},
            )
        try:
            return _Response.model_validate_json(raw.content)
        except ValidationError as malformed:
            raise LlmFailed("malformed", "the reply is not a chat completion") from malformed

    async def _reserved(self, bound: int) -> Reservation:
        """Waits while calls of ours are under way: most give back some of what was set aside for them."""
        async with self._settled:
            while not self._state.has_room(bound) and self._under_way:
                await self._settled.wait()
        try:
            reservation = self._state.reserve(bound)
        except CapReached:
            self._refused = bound
            raise
        self._refused = 0
        self._under_way += 1
        return reservation

    async def _settle(self, reservation: Reservation, cost: int) -> None:
        self._state.settle(reservation, cost)
        self._under_way -= 1
        async with self._settled:
            self._settled.notify_all()

    def _bound(self, messages: Sequence[Message], extra: Mapping[str, object]) -> int:
        """What a call costs at most, in picos: a token is a byte at least, and a schema is read too."""
        read = sum(len(message["content"].encode()) for message in messages) + len(str(extra))
        return self._endpoint.cost(read + TEMPLATE_TOKENS, self._endpoint.completion_limit)

    def _billed(self, usage: Usage, bound: int) -> int:
        """By the API's own count; without one, as much as was set aside."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return bound
        return self._endpoint.cost(usage.prompt_tokens, usage.completion_tokens)


def _failure(refused: openai.APIStatusError) -> LlmFailed:
    return LlmFailed(
        f"status_{refused.status_code}",
        " ".join(refused.message.split())[:MAX_DETAIL],
        retry_after=refused.response.headers.get("retry-after"),
    )


def _format(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def _text(response: _Response) -> str:
    if not response.choices:
        raise LlmFailed("malformed", "no choice in the reply")
    choice = response.choices[0]
    if choice.message.refusal:
        raise LlmFailed("refused", "the model declined")
    if choice.finish_reason == "content_filter":
        raise LlmFailed("refused", "the provider's filter stopped it")
    # Who thinks first may be cut off before the first word.
    if not choice.message.content and choice.finish_reason != CUT_OFF:
        raise LlmFailed("malformed", "an empty reply")
    return choice.message.content or ""
