"""One call to an OpenAI-compatible chat API: repeated while that helps, paid for out of the day's budget."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import openai
from aiolimiter import AsyncLimiter
from openai import AsyncOpenAI
from pydantic import BaseModel, ValidationError

from judge.prompt import Message
from judge.settings import JudgeSettings
from judge.state import CapReached, State

logger = logging.getLogger(__name__)

MINUTE_S: Final = 60.0
TEMPLATE_TOKENS: Final = 64
"""More than any chat template puts around two messages."""


class LlmFailed(Exception):
    """The LLM gave no usable reply, however often it was asked."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        """One of a few words, for metrics."""


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
    usage: Usage | None = None


class Llm:
    """An OpenAI-compatible API."""

    def __init__(self, client: AsyncOpenAI, settings: JudgeSettings, state: State) -> None:
        self._client = client
        self._settings = settings
        self._state = state
        self._limiter = AsyncLimiter(settings.llm_calls_per_minute, MINUTE_S)
        self._knows_schemas = True
        self._refused = 0
        self._under_way = 0
        self._settled = asyncio.Condition()
        self.provider = client.base_url.host
        self.params = params(settings)

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: JudgeSettings, state: State) -> AsyncIterator[Self]:
        key = settings.llm_key
        client = AsyncOpenAI(
            base_url=str(settings.llm_url),
            api_key=key.get_secret_value() if key else "none",
            timeout=settings.llm_timeout_s,
            max_retries=settings.llm_attempts - 1,
        )
        async with client:
            yield cls(client, settings, state)

    @property
    def model(self) -> str:
        return self._settings.llm_model

    def _bound(self, messages: Sequence[Message]) -> int:
        """What a reply to these costs at most, in picos: a token is a byte at least, each attempt may be billed."""
        prompt = sum(len(message["content"].encode()) for message in messages) + TEMPLATE_TOKENS
        return self._settings.llm_attempts * self._cost(prompt, self._settings.llm_max_tokens)

    def can_pay(self) -> bool:
        """Whether today's money suffices for the call that it last did not suffice for, or for any."""
        return self._state.has_room(max(self._refused, 1))

    async def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """schema: of the reply, for APIs that can hold to one.  Raises `LlmFailed`, `CapReached`."""
        bound = self._bound(messages)
        reservation = await self._reserved(bound)
        cost = bound  # where the call is cut off, nobody knows whether it is billed
        try:
            response = await self._response(messages, schema)
            usage = response.usage or Usage()
            cost = self._billed(usage, bound)
            return Completion(
                text=_text(response),
                truncated=response.choices[0].finish_reason == "length",
                model=response.model or self.model,
                usage=usage,
                cost=cost,
            )
        except openai.APIStatusError as refused:
            cost = 0
            raise LlmFailed(f"status_{refused.status_code}", type(refused).__name__) from refused
        except openai.APITimeoutError as late:
            raise LlmFailed("timeout", f"no reply in {self._settings.llm_timeout_s:g} s") from late
        except openai.APIConnectionError as away:
            raise LlmFailed("connection", type(away.__cause__ or away).__name__) from away
        finally:
            await self._settle(reservation, cost)

    async def _reserved(self, bound: int) -> int:
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

    async def _settle(self, reservation: int, cost: int) -> None:
        self._state.settle(reservation, cost)
        self._under_way -= 1
        async with self._settled:
            self._settled.notify_all()

    async def _response(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> _Response:
        if not self._knows_schemas:
            return await self._call(messages)
        try:
            return await self._call(messages, response_format=_format(schema))
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            response = await self._call(messages)
        # It was the schema then, and not the prompt.
        self._knows_schemas = False
        logger.info("llm.without_schemas provider=%s", self.provider)
        return response

    async def _call(self, messages: Sequence[Message], **extra: object) -> _Response:
        async with self._limiter:
            raw = await self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=list(messages),  # type: ignore[arg-type] # a union of ten typed dicts
                extra_body={**self.params, **extra},
            )
        try:
            return _Response.model_validate_json(raw.content)
        except ValidationError as malformed:
            raise LlmFailed("malformed", "the reply is not a chat completion") from malformed

    def _billed(self, usage: Usage, bound: int) -> int:
        """By the API's own count; without one, as much as was set aside."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return bound
        return self._cost(usage.prompt_tokens, usage.completion_tokens)

    def _cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """In picos: a price for a million tokens is as many millionths for one."""
        return int(
            prompt_tokens * self._settings.llm_prompt_price * 10**6
            + completion_tokens * self._settings.llm_completion_price * 10**6
        )


def params(settings: JudgeSettings) -> dict[str, Any]:
    """The sampling parameters that go with each call; null takes one of ours out."""
    own = {"temperature": 0, "max_tokens": settings.llm_max_tokens}
    return {name: value for name, value in (own | settings.llm_params).items() if value is not None}


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
    if not choice.message.content:
        raise LlmFailed("malformed", "an empty reply")
    return choice.message.content
