"""The judge's side of the service's queue: lease a task, post the verdict, or give the task back."""

import logging
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import httpx
from pydantic import BaseModel, SecretStr

from judge.llm import Opinion
from judge.rubric import Rubric

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
MAX_ERROR: Final = 500


class Document(BaseModel):
    index: int
    text: str


class Task(BaseModel):
    """One answer that waits for a verdict, ours until the lease expires."""

    lease_id: UUID
    decision_id: UUID
    query: str
    documents: list[Document]
    """What the LLM read, in the order in which it read it."""
    answer: str
    sampling_probability: float


class _Leased(BaseModel):
    tasks: list[Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The service, as far as the judge needs it.  Every method may raise `httpx.HTTPError`.

    Where something else answers at its address, `pydantic.ValidationError`.
    """

    client: httpx.AsyncClient
    rubric: Rubric

    @classmethod
    def at(cls, url: str, *, rubric: Rubric, key: SecretStr | None = None) -> Self:
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False
        )
        return cls(client=client, rubric=rubric)

    async def lease(self) -> Task | None:
        """The next answer that waits, if any does."""
        body = {"n": 1, "rubric": self.rubric.reference()}
        response = await self.client.post("/v1/judge/lease", json=body)
        response.raise_for_status()
        return next(iter(_Leased.model_validate_json(response.content).tasks), None)

    async def post(self, task: Task, opinion: Opinion) -> None:
        """The feedback is the acknowledgement. One verdict for each answer and rubric: a repeat changes nothing."""
        response = await self.client.post(
            "/v1/feedback",
            json=self._feedback(task, opinion),
            headers={"Idempotency-Key": f"{self.rubric.id}@{self.rubric.version}"},
        )
        if _said_before(response):
            logger.info("verdict.repeated decision=%s", task.decision_id)
            return
        response.raise_for_status()

    async def give_back(self, task: Task, reason: str) -> None:
        """Another judge may try."""
        response = await self.client.post(
            f"/v1/judge/lease/{task.lease_id}/nack", json={"error": reason[:MAX_ERROR]}
        )
        response.raise_for_status()

    def _feedback(self, task: Task, opinion: Opinion) -> dict[str, Any]:
        return {
            "decision_id": str(task.decision_id),
            "name": self.rubric.name,
            "value": opinion.verdict.score,
            "source": {"type": "LLM_JUDGE", "id": f"{self.rubric.id}@{self.rubric.version}"},
            "rationale": opinion.verdict.rationale,
            "judge": {
                "rubric": {**self.rubric.reference(), "sha256": self.rubric.sha256},
                "provider": opinion.provider,
                "model": opinion.model,
                "params": dict(opinion.params),
                "mode": "answer",
                "presentation": [document.index for document in task.documents],
                "sampling_probability": task.sampling_probability,
                "usage": opinion.usage.model_dump(exclude_none=True),
            },
        }


def _said_before(response: httpx.Response) -> bool:
    """Whether another judge was faster: the key is taken, with another verdict."""
    return (
        response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        and b"urn:rankloop:KeyReused" in response.content
    )
