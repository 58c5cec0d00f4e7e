"""Where versions are kept: any fsspec URL, a folder for each version, the manifest written last.

A folder without a manifest is an upload that did not finish: it is written over, and never read.
"""

import os
import secrets
import shutil
from pathlib import Path
from typing import IO

import fsspec
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

from contract.artifact import MANIFEST, ArtifactRejected, Manifest, verified


class Store:
    """Versions under one URL: a local folder, `s3://...`, `gs://...`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = fsspec.core.url_to_fs(url)

    def put(self, folder: Path) -> str:
        """Stores a complete folder; the same version twice is stored once.  Returns its version."""
        manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
        version = manifest.version
        verified(folder, version)
        if not self._files.exists(self._path(version, MANIFEST)):
            self._files.makedirs(self._path(version), exist_ok=True)
            for name in [*sorted(manifest.files), MANIFEST]:
                self._upload(folder / name, self._path(version, name))
        return version

    def fetch(self, version: str, cache: Path) -> Path:
        """A local, verified folder of this version.  Raises `ArtifactRejected`.

        Processes that share a cache take turns: none takes away what another one has just begun to read.
        """
        folder = cache / version
        if not _is_intact(folder, version):
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f".{version}.lock"):
                if not _is_intact(folder, version):
                    self._replace(folder, version)
        return folder

    def _replace(self, folder: Path, version: str) -> None:
        arriving = folder.with_name(f".{version[:12]}.{secrets.token_hex(4)}")
        try:
            self._download(version, arriving)
            verified(arriving, version)
            shutil.rmtree(folder, ignore_errors=True)
            arriving.rename(folder)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    def _path(self, *parts: str) -> str:
        return "/".join([self._root, *parts])

    def _upload(self, source: Path, target: str) -> None:
        # A name of its own, then a rename: on a local disk no reader ever sees half a file.
        local = isinstance(self._files, LocalFileSystem)
        arriving = f"{target}.{secrets.token_hex(4)}" if local else target
        with source.open("rb") as reader, self._files.open(arriving, "wb") as writer:
            shutil.copyfileobj(reader, writer)
            if local:
                _sync(writer)
        if local:
            Path(arriving).replace(target)

    def _download(self, version: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        try:
            self._files.get_file(self._path(version, MANIFEST), str(folder / MANIFEST))
            manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
            for name in manifest.files:
                self._files.get_file(self._path(version, name), str(folder / name))
        except FileNotFoundError as missing:
            message = f"version {version[:12]} is not complete in the store"
            raise ArtifactRejected(message) from missing


def _is_intact(folder: Path, version: str) -> bool:
    try:
        verified(folder, version)
    except (ArtifactRejected, OSError):
        return False
    return True


def _sync(writer: IO[bytes]) -> None:
    writer.flush()
    os.fsync(writer.fileno())
