"""The routes of the service that a judge calls, over lists instead of a database; bodies are checked by its schemas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI, HTTPException

from service.schemas.judge import GivenBack
from service.schemas.replays import ReplayResult

TEXTS = {0: "One year.", 1: "Ask us.", 2: "Two years."}


@dataclass(kw_only=True)
class ReplayService:
    """Hands out what waits, and keeps what is said of it."""

    replays: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    leased: list[str] = field(default_factory=list)
    """`replay` or `answer`, in turn."""
    ended: dict[UUID, ReplayResult] = field(default_factory=dict)
    given_back: list[GivenBack] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    held: set[UUID] = field(default_factory=set)
    speaks_of_replays: bool = True

    def ask(
        self, used: Sequence[int], against: Sequence[int] | None = None, **changes: Any
    ) -> UUID:
        """One more replay that waits, by its lease."""
        lease_id = uuid4()
        positions = dict.fromkeys((*used, *(against or ())))
        own = {
            "lease_id": str(lease_id),
            "replay_id": str(uuid4()),
            "decision_id": str(uuid4()),
            "purpose": "leave_one_out" if against is None else "pair",
            "query": "How long is the warranty?",
            "documents": [{"index": index, "text": TEXTS[index]} for index in sorted(positions)],
            "used": list(used),
            "against": None if against is None else list(against),
            "reference": None,
            "expires_in_s": 300.0,
            "attempts_left": 4,
        }
        self.replays.append(own | changes)
        return lease_id

    def answered(self, text: str) -> None:
        """One more answer that waits."""
        self.answers.append(
            {
                "lease_id": str(uuid4()),
                "decision_id": str(uuid4()),
                "query": "How long?",
                "documents": [{"index": 2, "text": TEXTS[2]}],
                "answer": text,
                "reference": None,
                "sampling_probability": 1.0,
                "attempts_left": 4,
                "expires_in_s": 300.0,
            }
        )

    def app(self) -> FastAPI:
        app = FastAPI()
        routes: dict[str, Callable[..., Any]] = {
            "/v1/judge/replays/lease": self._lease_replay,
            "/v1/judge/replays/{lease_id}": self._end,
            "/v1/judge/replays/{lease_id}/nack": self._give_back,
            "/v1/judge/lease": self._lease_answer,
            "/v1/judge/lease/{lease_id}/nack": self._nack,
            "/v1/feedback/batch": self._hear,
        }
        for path, route in routes.items():
            empty = path.endswith(("nack", "{lease_id}"))
            app.post(path, status_code=204 if empty else 200)(route)
        return app

    def _lease_replay(self) -> dict[str, Any]:
        if not self.speaks_of_replays:
            raise HTTPException(404)
        return {"tasks": self._leased("replay", self.replays)}

    def _lease_answer(self) -> dict[str, Any]:
        return {"tasks": self._leased("answer", self.answers)}

    def _leased(self, what: str, waiting: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not waiting:
            return []
        self.leased.append(what)
        task = waiting.pop(0)
        self.held.add(UUID(task["lease_id"]))
        return [task]

    def _end(self, lease_id: UUID, came: ReplayResult) -> None:
        self._let_go(lease_id)
        assert (came.value is None) != (came.error is None)
        self.ended[lease_id] = came

    def _give_back(self, lease_id: UUID, given: GivenBack) -> None:
        self._let_go(lease_id)
        self.given_back.append(given)

    def _nack(self, lease_id: UUID, given: GivenBack) -> None:
        self._give_back(lease_id, given)

    def _let_go(self, lease_id: UUID) -> None:
        if lease_id not in self.held:
            raise HTTPException(404)
        self.held.remove(lease_id)

    def _hear(self, said: dict[str, Any]) -> dict[str, Any]:
        self.verdicts.extend(said["items"])
        return {"results": [{"status": "stored"} for _ in said["items"]]}
