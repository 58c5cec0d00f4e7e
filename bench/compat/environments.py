"""Which packages run beside which: Cohere's 5 and 7 cannot, and what needs an older one goes with the older one."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import environment

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
        """Its interpreter."""
        if not self.requirements:
            return sys.executable
        # Pinned to the last one: nothing is resolved, so nothing else comes along.
        return str(
            environment.python(FOLDER / self.name, [HERE / name for name in self.requirements])
        )


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
