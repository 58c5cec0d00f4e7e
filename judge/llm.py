"""One call to an OpenAI-compatible chat API, repeated while repeating helps."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from judge.prompt import Message
from judge.retries import TRANSIENT, Backoff
from judge.settings import JudgeSettings
from judge.verdict import NoVerdict, Verdict

logger = logging.getLogger(__name__)

BAD_REQUEST: Final = 400


class LlmFailed(Exception):
    """The LLM gave no verdict, however often it was asked; the message says why."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class Usage(BaseModel):
    """What a call cost, as far as the API says."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    model: str | None = None
    choices: list[_Choice]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A verdict and who gave it at what cost."""

    verdict: Verdict
    provider: str
    """The API's host."""
    model: str
    params: Mapping[str, float]
    usage: Usage


class Llm:
    """An OpenAI-compatible API."""

    def __init__(
        self, client: httpx.AsyncClient, settings: JudgeSettings, *, backoff: Backoff | None = None
    ) -> None:
        self._client = client
        self._url = f"{str(settings.llm_url).rstrip('/')}/chat/completions"
        self._settings = settings
        self._backoff = backoff or Backoff()
        self._params = {"temperature": 0, "max_tokens": settings.llm_max_tokens}

    async def ask(self, messages: Sequence[Message]) -> Opinion:
        """Raises `LlmFailed`."""
        for attempt in range(self._settings.llm_attempts):
            response: httpx.Response | None = None
            try:
                response = await self._post(messages)
                if response.status_code < BAD_REQUEST:
                    return self._opinion(response)
                reason = f"status {response.status_code}"
                if response.status_code not in TRANSIENT:
                    break
            except (httpx.HTTPError, NoVerdict) as failure:
                reason = f"{type(failure).__name__}: {failure}"
            logger.info("llm.retry attempt=%d reason=%s", attempt + 1, reason)
            if attempt + 1 < self._settings.llm_attempts:
                await asyncio.sleep(self._backoff.wait_s(attempt, response))
        raise LlmFailed(reason)

    async def _post(self, messages: Sequence[Message]) -> httpx.Response:
        key = self._settings.llm_key
        return await self._client.post(
            self._url,
            json={"model": self._settings.llm_model, "messages": list(messages), **self._params},
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=self._settings.llm_timeout_s,
        )

    def _opinion(self, response: httpx.Response) -> Opinion:
        try:
            completion = _Completion.model_validate_json(response.content)
        except ValidationError as malformed:
            message = "the reply is not a chat completion"
            raise NoVerdict(message) from malformed
        reply = completion.choices[0].message.content if completion.choices else None
        return Opinion(
            verdict=Verdict.of_reply(reply or ""),
            provider=urlsplit(self._url).hostname or "",
            params=self._params,
            model=completion.model or self._settings.llm_model,
            usage=completion.usage or Usage(),
        )
