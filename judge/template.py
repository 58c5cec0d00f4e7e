"""The app's prompt, as a file in which `{question}` and `{documents}` stand where they belong."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

SHIPPED: Final = Path(__file__).parent / "reader_prompt.txt"
PLACEHOLDERS: Final = frozenset({"{question}", "{documents}"})
_LIKE_ONE: Final = re.compile(r"\{+\s*\w+\s*\}+")
"""Other braces, such as those of JSON, stand for themselves."""


class TemplateRefused(Exception):
    """The file is no such prompt; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A prompt that waits for its texts."""

    text: str

    @classmethod
    def from_file(cls, path: Path = SHIPPED) -> Self:
        """Raises `TemplateRefused`."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise TemplateRefused(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TemplateRefused(f"{path}: is not UTF-8 text") from error
        found = set(_LIKE_ONE.findall(text))
        if unknown := sorted(found - PLACEHOLDERS):
            raise TemplateRefused(
                f"{path}: knows {{question}} and {{documents}}, and not {', '.join(unknown)}"
            )
        if missing := sorted(PLACEHOLDERS - found):
            raise TemplateRefused(f"{path}: lacks {' and '.join(missing)}")
        return cls(text=text)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def filled(self, *, question: str, documents: Sequence[str]) -> str:
        """documents: as the LLM reads them, the first one first."""
        texts = {"{question}": question, "{documents}": _numbered(documents)}
        # In one pass, and no str.format: texts may hold braces, and may hold placeholders.
        return _LIKE_ONE.sub(lambda found: texts[found[0]], self.text)


def _numbered(documents: Sequence[str]) -> str:
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(documents, 1))
