"""A RAG application: retrieve, rerank, answer, and say later how good the answer was. HTTP is all it knows."""

import time
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from examples.demo import prompt
from examples.demo.worlds import Ask, World

TOP_N: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One question, answered."""

    ask: Ask
    decision_id: str
    version: str
    used: tuple[str, ...]
    """The texts of the reader's prompt, in its order."""
    answer: str
    quality: float
    """The truth, in [0, 1]."""


class ServiceFailed(Exception):
    """Rankloop did not do what it was asked."""


class ReaderFailed(Exception):
    """The reader gave no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What an application holds: a client for Rankloop, one for the reader, and its world."""

    service: httpx.AsyncClient
    reader: httpx.AsyncClient
    reader_model: str
    world: World

    @classmethod
    def of(cls, *, service_url: str, reader_url: str, reader_model: str, world: World) -> Self:
        return cls(
            service=httpx.AsyncClient(base_url=service_url, timeout=60, trust_env=False),
            reader=httpx.AsyncClient(base_url=reader_url.rstrip("/") + "/", timeout=120),
            reader_model=reader_model,
            world=world,
        )

    async def close(self) -> None:
        await self.service.aclose()
        await self.reader.aclose()

    async def answer(self, ask: Ask, *, explore: str, session_id: str) -> Answered:
        """One lap. Raises `ServiceFailed` and `ReaderFailed`."""
        ranked = await self._post(
            "/v1/rerank",
            {
                "query": ask.text,
                "documents": [
                    {"id": document.id, "text": document.text, "score": document.score}
                    for document in ask.documents
                ],
                "top_n": TOP_N,
                "explore": explore,
                "session_id": session_id,
            },
        )
        used = [ask.documents[result["index"]].text for result in ranked["results"]]
        started = time.monotonic()
        answer, places = await self.read(ask, used)
        latency_ms = (time.monotonic() - started) * 1000
        await self._post(
            f"/v1/decisions/{ranked['id']}/answer",
            {
                "used_k": len(used),
                "text": answer,
                "citations": [ranked["results"][place - 1]["index"] for place in places],
                "model": self.reader_model,
                "latency_ms": latency_ms,
            },
        )
        return Answered(
            ask=ask,
            decision_id=ranked["id"],
            version=ranked["meta"]["version"],
            used=tuple(used),
            answer=answer,
            quality=self.world.grade(ask, used, answer),
        )

    async def reward(self, decision_id: str, value: float) -> None:
        """Raises `ServiceFailed`."""
        await self._post(
            "/v1/feedback",
            {
                "decision_id": decision_id,
                "name": "reward",
                "value": value,
                "source": {"type": "CODE", "id": "demo"},
            },
        )

    async def read(self, ask: Ask, used: list[str]) -> tuple[str, list[int]]:
        """What the reader answers from these texts, and the places of those it cites. Raises `ReaderFailed`."""
        request = {
            "model": self.reader_model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": prompt.INSTRUCTION},
                {"role": "user", "content": prompt.build(ask.text, used)},
            ],
        }
        try:
            response = await self.reader.post("chat/completions", json=request)
            response.raise_for_status()
            message = str(response.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPError, ValueError, LookupError) as failure:
            raise ReaderFailed(f"the reader gave no answer: {failure!r}") from failure
        return prompt.cited(message, used=len(used))

    async def _post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        try:
            response = await self.service.post(path, json=body)
        except httpx.HTTPError as failure:
            raise ServiceFailed(f"POST {path}: {failure!r}") from failure
        if not response.is_success:
            raise ServiceFailed(f"POST {path}: {response.status_code} {response.text[:200]}")
        return response.json()
