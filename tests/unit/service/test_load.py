from pathlib import Path

import pytest

from contract.artifact import Manifest
from contract.store import Store
from service.device import CPU, CUDA, Runtime
from service.load import Loader
from service.score import Scorer
from service.settings import Precision
from tests import models


class Loaded(Loader):
    """Says what it is asked to probe, and finds that the last of it is fit here."""

    probed: tuple[Precision, ...] = ()

    async def _probe(self, folder: Path, wanted: Precision) -> Precision:
        self.probed += (wanted,)
        return Precision.FLOAT32

    def _warmed(self, folder: Path, manifest: Manifest, precision: Precision) -> Scorer:
        runtime = Runtime(provider=CPU, threads=1)
        return Scorer.load(folder, manifest, precision=precision, runtime=runtime)


@pytest.mark.parametrize(("provider", "then"), [(CPU, Precision.FLOAT32), (CUDA, Precision.AUTO)])
async def test_what_was_chosen_once_stays_where_it_was_measured(
    tmp_path: Path, provider: str, then: Precision
) -> None:
    store = Store(str(tmp_path / "store"))
    models.make(tmp_path / "version", precisions=("float32", "int8"))
    version = store.put(tmp_path / "version")
    loader = Loaded(
        store,
        tmp_path / "cache",
        runtime=Runtime(provider=provider, threads=1),
        precision=Precision.AUTO,
        batch_tokens=1024,
    )

    await loader.load(version)
    await loader.load(version)

    assert loader.probed == (Precision.AUTO, then)
