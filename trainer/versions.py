"""Versions in folders: one that is named is fetched, one that is made appears whole."""

import shutil
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.artifact import MANIFEST, ArtifactRejected, Manifest, verified
from contract.store import Store


class _Settings(BaseSettings):
    """Two of the trainer's own, where versions are named and not their folders."""

    model_config = SettingsConfigDict(env_prefix="RANKLOOP_", env_ignore_empty=True)

    artifacts_url: str | None = None
    cache_dir: Path | None = None


def found(name: str) -> tuple[Path, Manifest]:
    """The verified folder of a version, by its name or its folder.  Raises `ArtifactRejected`."""
    folder = Path(name)
    if not (folder / MANIFEST).is_file():
        folder = _fetched(name)
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    return folder, verified(folder, manifest.version)


def place(made: Path, folder: Path) -> None:
    """A version that was made beside it becomes that folder, in place of one that was there."""
    if (folder / MANIFEST).is_file():
        shutil.rmtree(folder)
    made.rename(folder)


def _fetched(version: str) -> Path:
    settings = _Settings()
    if settings.artifacts_url is None or settings.cache_dir is None:
        raise ArtifactRejected(
            f"{version} is no folder with a {MANIFEST}; to name a version, say where they are stored with"
            " RANKLOOP_ARTIFACTS_URL and RANKLOOP_CACHE_DIR, or name the folder of `rankloop up` with --home"
        )
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    return Store(settings.artifacts_url).fetch(version, settings.cache_dir)
