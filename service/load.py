"""A version on its way from the store to a slot: fetched, verified, tried in a child process, loaded, warmed, checked.

Each step refuses with a reason, and none of them touches the model that serves.
"""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Final

from contract.artifact import MANIFEST, ArtifactRejected, Manifest
from contract.store import Store
from service import probe
from service.device import Runtime
from service.score import Scorer
from service.settings import Precision

logger = logging.getLogger(__name__)

_PROBE_TIMEOUT_S: Final = 300
_TREE: Final = Path(__file__).parents[1]


class Loader:
    """Makes scorers of versions.

    batch_tokens: of the largest run, which on a GPU each scorer has behind it before it serves.
    """

    def __init__(
        self,
        store: Store,
        cache: Path,
        *,
        runtime: Runtime,
        precision: Precision,
        batch_tokens: int,
    ) -> None:
        self._store = store
        self._batch_tokens = batch_tokens
        self._cache = cache.resolve()
        self._runtime = runtime
        self._precision = precision
        self._settled = precision

    async def load(self, version: str) -> Scorer:
        """Raises `ArtifactRejected`, or whatever a store raises that cannot be read."""
        folder = await asyncio.to_thread(self._store.fetch, version, self._cache)
        manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
        precision = await self._probe(folder, self._wanted(manifest))
        scorer = await asyncio.to_thread(self._warmed, folder, manifest, precision)
        self._settled = precision
        return scorer

    def _wanted(self, manifest: Manifest) -> Precision:
        """What was measured to be the fastest once stays, so that a swap does not change the precision.

        On a GPU nothing is measured: a version that is not fit in the best precision is served in the next one.
        """
        if self._runtime.is_cuda or self._settled not in manifest.variants:
            return self._precision
        return self._settled

    async def _probe(self, folder: Path, wanted: Precision) -> Precision:
        """The precision that a child process chose.  Raises `ArtifactRejected`."""
        runtime = self._runtime
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", probe.__name__),
            *(str(folder), runtime.provider, str(runtime.threads), wanted),
            cwd=_TREE,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                said, reason = await child.communicate()
        except TimeoutError as error:
            raise ArtifactRejected(f"took over {_PROBE_TIMEOUT_S} s to load and score") from error
        finally:
            if child.returncode is None:
                child.kill()
                await child.communicate()
        if child.returncode == probe.REJECTED:
            raise ArtifactRejected(reason.decode(errors="replace"))
        if child.returncode != 0:
            raise ArtifactRejected(f"crashed a process that tried it, with {child.returncode}")
        measured = json.loads(said)
        logger.info(
            "load.probed precision=%s seconds=%s", measured["precision"], measured["seconds"]
        )
        return Precision(measured["precision"])

    def _warmed(self, folder: Path, manifest: Manifest, precision: Precision) -> Scorer:
        scorer = Scorer.load(folder, manifest, precision=precision, runtime=self._runtime)
        scorer.warm_up(tokens=self._batch_tokens if self._runtime.is_cuda else 1)
        scorer.check_golden()
        return scorer
