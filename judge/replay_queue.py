"""The judge's side of the service's replays: lease one, say what came of it, or give it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import httpx
from pydantic import BaseModel, model_validator

from judge.queue import MAX_ERROR, say

PATH: Final = "/v1/judge/replays"


class Document(BaseModel):
    index: int
    text: str


class Replay(BaseModel):
    """A decision whose query is to be answered again, ours until the lease expires."""

    lease_id: UUID
    replay_id: UUID
    decision_id: UUID
    purpose: str
    """What it is asked for."""
    query: str
    documents: list[Document]
    """Those that `used` and `against` name."""
    used: list[int]
    """What the reader is to read, as request positions in that order."""
    against: list[int] | None
    """What it reads for the answer that the first one is compared with; None: it is judged by itself."""
    reference: str | None
    expires_in_s: float
    attempts_left: int
    """How often it may be leased again."""

    @model_validator(mode="after")
    def _has_its_documents(self) -> Self:
        missing = set(self.positions) - {document.index for document in self.documents}
        if missing:
            message = f"no text of {sorted(missing)}"
            raise ValueError(message)
        return self

    @property
    def positions(self) -> list[int]:
        """Of all that is read, each once."""
        return list(dict.fromkeys((*self.used, *(self.against or ()))))

    def texts(self, positions: Sequence[int]) -> list[str]:
        by_position = {document.index: document.text for document in self.documents}
        return [by_position[position] for position in positions]


class _Leased(BaseModel):
    tasks: list[Replay]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayQueue:
    """The service, as far as replays need it.  Every method may raise `httpx.HTTPError`.

    Where something else answers at its address, `pydantic.ValidationError`.
    """

    client: httpx.AsyncClient

    async def lease(self) -> Replay | None:
        """The next one that waits, if any does; pairs come first."""
        response = await self.client.post(f"{PATH}/lease", json={"n": 1})
        response.raise_for_status()
        return next(iter(_Leased.model_validate_json(response.content).tasks), None)

    async def post(self, replay: Replay, result: Mapping[str, Any]) -> None:
        """What came of it; of what was said before the first stands."""
        await say(self.client, f"{PATH}/{replay.lease_id}", result)

    async def give_back(self, replay: Replay, reason: str, *, tried: bool) -> None:
        """Another judge may try.  tried: whether it is for the replay that there is no value."""
        path = f"{PATH}/{replay.lease_id}/nack"
        await say(self.client, path, {"error": reason[:MAX_ERROR], "tried": tried})
