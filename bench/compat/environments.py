"""Which packages run beside which: Cohere's 5 and 7 cannot, and what needs an older one goes with the older one."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parents[1] / ".compat"
SILENT: Final[Mapping[str, str]] = {
    "HAYSTACK_TELEMETRY_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "NO_PROXY": "127.0.0.1",
    "PYTHONWARNINGS": "ignore",
}
"""These packages talk to nobody but us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment of pinned packages, and the modules of `clients` that run in it."""

    name: str
    modules: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    """Files beside this one, in the order of their installation; none is the environment we are in."""

    def python(self) -> str:
        """Its interpreter; makes the environment where it is missing or its files have changed."""
        if not self.requirements:
            return sys.executable
        folder = FOLDER / self.name
        python, stamp = folder / "bin" / "python", folder / ".installed"
        wanted = self._digest()
        if not stamp.exists() or stamp.read_text() != wanted:
            venv.create(folder, with_pip=True, clear=True)
            self._install(python)
            stamp.write_text(wanted)
        return str(python)

    def _install(self, python: Path) -> None:
        # Pinned to the last one and checked below: nothing is resolved, so nothing else comes along.
        for name in self.requirements:
            _run(python, "install", "--quiet", "--no-deps", "--requirement", str(HERE / name))
        _run(python, "check")

    def _digest(self) -> str:
        return sha256(
            b"".join((HERE / name).read_bytes() for name in self.requirements)
        ).hexdigest()


ENVIRONMENTS: Final = (
    Environment(
        name="cohere5",
        modules=("cohere_sdk", "langchain_cohere", "llama_index_cohere", "documented"),
        requirements=("requirements-cohere5.txt",),
    ),
    Environment(
        name="cohere7",
        modules=(
            "cohere_sdk",
            "haystack",
            "llama_index_jina",
            "llama_index_tei",
            "litellm_rerank",
            "voyage",
            "mixedbread_sdk",
            "documented",
        ),
        requirements=("requirements-cohere7.txt", "requirements-litellm.txt"),
    ),
    Environment(
        name="frameworks",
        modules=("frameworks",),
        requirements=("requirements-frameworks.txt",),
    ),
    Environment(name="recorded", modules=("dify", "open_webui", "r2r", "ragflow")),
)


def _run(python: Path, *arguments: str) -> None:
    subprocess.run([str(python), "-m", "pip", *arguments], env=os.environ, check=True)
