"""What was sent, what came back, and what should not have."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

MAX_ERROR_BYTES: Final = 1024
MAX_FINDINGS: Final = 50
SAVED_AT: Final = "FUZZ_TALLY"
"""Names the file where another process leaves what it counted."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Of one kind of requests, or of all."""

    statuses: Counter[str] = field(default_factory=Counter)
    """How often each came; `none` where the connection ended without one, as ours meant it to."""
    unsayable: Counter[str] = field(default_factory=Counter)
    """Refusals of requests that the document allows, by the rule that JSON Schema has no words for."""
    findings: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.statuses.total()

    def count(self, status: int, body: bytes, *, of: str) -> None:
        """What holds for every response, whatever was asked."""
        self.statuses[str(status)] += 1
        if status >= 500:  # noqa: PLR2004
            self.find(f"{of}: {status}")
        if status >= 400 and len(body) > MAX_ERROR_BYTES:  # noqa: PLR2004
            self.find(f"{of}: {status} with {len(body)} bytes")

    def find(self, finding: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding[:1000])

    def add(self, other: "Tally") -> None:
        self.statuses += other.statuses
        self.unsayable += other.unsayable
        for finding in other.findings:
            self.find(finding)

    def save(self, path: Path) -> None:
        said = {
            "statuses": self.statuses,
            "unsayable": self.unsayable,
            "findings": self.findings,
        }
        path.write_text(json.dumps(said), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        said = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            statuses=Counter(said["statuses"]),
            unsayable=Counter(said["unsayable"]),
            findings=said["findings"],
        )
