"""From an opinion to feedback: what the service is told, and how it knows a repeat."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid5

from judge.opinions import Opinion
from judge.queue import MAX_ERROR, Task
from judge.rubric import Kind, Rubric
from judge.state import PICOS

Item = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What a judge says about one answer, one replicate of it."""

    task: Task
    rubric: Rubric
    model: str
    """The LLM's name, as it is asked for: with rubric, document and replicate it makes an id that a repeat has too."""
    replicate: int = 0
    flags: Sequence[str] = ()

    def of(self, opinion: Opinion) -> list[Item]:
        """One for the answer, or one for each document."""
        how = self._judge(opinion)
        said = [
            self._about(index)
            | {"value": value, "rationale": opinion.verdict.rationale, "judge": how}
            for index, value in self._found(opinion)
        ]
        return said or [self._error("the answer claims nothing", how)]

    def error(self, error: str) -> list[Item]:
        """That nothing could be found: unobserved, never zero."""
        return [self._error(error, self._judge(None))]

    def _error(self, error: str, how: Item) -> Item:
        """Under an id of its own: a verdict that is on its way may still come."""
        return self._about(None, "error") | {"error": error[:MAX_ERROR], "judge": how}

    def _found(self, opinion: Opinion) -> Iterator[tuple[int | None, float]]:
        """Request position, where a document is spoken of, and value."""
        for finding in opinion.verdict.findings:
            shown = finding.document
            yield (None if shown is None else self._position(opinion, shown)), finding.value

    def _position(self, opinion: Opinion, shown: int) -> int:
        return self.task.documents[opinion.presentation[shown]].index

    def _about(self, index: int | None, what: str = "") -> Item:
        source = f"{self.rubric.id}@{self.rubric.version}"
        which = f"{source}/{self.model}/{self.replicate}/{what if index is None else index}"
        return {
            "id": str(uuid5(self.task.decision_id, which)),
            "decision_id": str(self.task.decision_id),
            "document": None if index is None else {"index": index},
            "name": self.rubric.name,
            "source": {"type": "LLM_JUDGE", "id": source},
            "metadata": {"replicate": self.replicate},
        }

    def _judge(self, opinion: Opinion | None) -> Item:
        return {
            "rubric": {**self.rubric.reference(), "sha256": self.rubric.sha256},
            "mode": "listwise" if self.rubric.kind is Kind.DOCUMENTS else "answer",
            "sampling_probability": self.task.sampling_probability,
            "flags": list(self.flags),
            **({} if opinion is None else self._how(opinion)),
        }

    def _how(self, opinion: Opinion) -> Mapping[str, Any]:
        usage = opinion.usage.model_dump(exclude_none=True)
        return {
            **asked_of(opinion),
            "presentation": [self._position(opinion, i) for i in range(len(opinion.presentation))],
            "usage": {**usage, "cost": opinion.cost / PICOS},
        }


def asked_of(opinion: Opinion) -> Item:
    """Whose it is."""
    return {
        "provider": opinion.provider,
        "model": opinion.model,
        "params": dict(opinion.params),
    }
