"""The judge's side of the service's queue: lease a task, post what was found, or give the task back."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import httpx
from pydantic import BaseModel, ValidationError

from judge.case import Case
from judge.rubric import Rubric
from judge.settings import JudgeSettings

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
MAX_ERROR: Final = 500
SAID_BEFORE: Final = "urn:rankloop:KeyReused"


class NotStored(Exception):
    """The service refused a verdict; the message says why."""


AWAY: Final = (httpx.HTTPError, ValidationError, NotStored)
"""The service does not answer, or somebody else does, or it does not want this."""


class Document(BaseModel):
    index: int
    text: str | None
    """None where texts are not kept."""


class Task(BaseModel):
    """One answer that waits for a verdict, ours until the lease expires."""

    lease_id: UUID
    decision_id: UUID
    query: str | None
    documents: list[Document]
    """What the LLM read, in the order in which it read it."""
    answer: str
    reference: str | None
    sampling_probability: float
    attempts_left: int
    """How often it may be leased again."""
    expires_in_s: float

    @property
    def has_texts(self) -> bool:
        return self.query is not None and all(each.text is not None for each in self.documents)

    def case(self) -> Case:
        """What a judge may know of it."""
        return Case(
            query=self.query or "",
            documents=[document.text or "" for document in self.documents],
            answer=self.answer,
            reference=self.reference,
        )


class _Leased(BaseModel):
    tasks: list[Task]


class _Result(BaseModel):
    status: str
    type: str | None = None
    detail: str | None = None


class _Results(BaseModel):
    results: list[_Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The service, as far as the judge needs it.  Every method may raise `httpx.HTTPError`.

    Where something else answers at its address, `pydantic.ValidationError`.
    """

    client: httpx.AsyncClient
    asking: Mapping[str, Any]
    """Of every lease: for which rubric, how old answers are, and which are sampled."""

    @classmethod
    def at(cls, settings: JudgeSettings, rubric: Rubric) -> Self:
        key = settings.api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        client = httpx.AsyncClient(
            base_url=str(settings.service_url), headers=headers, timeout=TIMEOUT_S, trust_env=False
        )
        asking = {
            "rubric": rubric.reference(),
            "settle_s": settings.settle_s,
            "sampling": settings.sampling.model_dump(),
        }
        return cls(client=client, asking=asking)

    async def lease(self) -> Task | None:
        """The next answer that waits, if any does."""
        response = await self.client.post("/v1/judge/lease", json={"n": 1, **self.asking})
        response.raise_for_status()
        return next(iter(_Leased.model_validate_json(response.content).tasks), None)

    async def post(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Feedback, which is the acknowledgement; of what was said before the first stands.  Raises `NotStored`."""
        response = await self.client.post("/v1/feedback/batch", json={"items": items})
        response.raise_for_status()
        for result in _Results.model_validate_json(response.content).results:
            if result.type == SAID_BEFORE:
                logger.info("verdict.repeated")
            elif result.status == "refused":
                raise NotStored(f"{result.type}: {result.detail}")

    async def give_back(self, task: Task, reason: str, *, tried: bool) -> None:
        """Another judge may try.  tried: whether it is for the answer that there is no verdict."""
        path = f"/v1/judge/lease/{task.lease_id}/nack"
        await say(self.client, path, {"error": reason[:MAX_ERROR], "tried": tried})


async def say(client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> None:
    """Something of a lease; of no account where it ran out, or the last word was said.  Raises `httpx.HTTPError`."""
    response = await client.post(path, json=body)
    if response.status_code != httpx.codes.NOT_FOUND:
        response.raise_for_status()
