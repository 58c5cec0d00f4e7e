"""A rubric: what the LLM is asked, under a name, a version and the hash of its file."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """One question put to every answer; a changed file is another hash, and should be another version."""

    id: str
    version: str
    name: str
    """The name of the feedback."""
    instructions: str
    sha256: str

    @classmethod
    def from_file(cls, path: Path) -> Self:
        data = path.read_bytes()
        fields = tomllib.loads(data.decode())
        return cls(sha256=hashlib.sha256(data).hexdigest(), **fields)

    def reference(self) -> dict[str, str]:
        """How the service knows it."""
        return {"id": self.id, "version": self.version}
