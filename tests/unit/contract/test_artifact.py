import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.artifact import (
    MANIFEST,
    Anchor,
    ArtifactRejected,
    Manifest,
    Variant,
    sha256,
    verified,
)
from contract.store import Store


@pytest.fixture
def folder(tmp_path):
    """A complete version, small enough to be looked at."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"the graph")
    (folder / "tokenizer.json").write_bytes(b"the tokenizer")
    manifest = Manifest(
        base="minilm",
        parent=None,
        run_id=None,
        family="bert",
        token_type_ids=True,
        pad_id=0,
        max_length=512,
        files={path.name: sha256(path) for path in folder.iterdir()},
        variants={
            "float32": Variant(file="model.onnx", temperature=1.5, golden_logits=(), tolerance=1e-3)
        },
        golden=(),
        anchor=Anchor(own=(), base=()),
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return folder


def version_of(folder):
    return Manifest.of_json((folder / MANIFEST).read_bytes()).version


def test_a_complete_folder_is_verified(folder):
    assert verified(folder, version_of(folder)).base == "minilm"


def test_one_flipped_bit_is_refused_and_named(folder):
    version = version_of(folder)
    damaged = bytearray((folder / "model.onnx").read_bytes())
    damaged[3] ^= 1
    (folder / "model.onnx").write_bytes(damaged)

    with pytest.raises(ArtifactRejected, match=r"model\.onnx does not match"):
        verified(folder, version)


def test_a_missing_file_is_refused_and_named(folder):
    version = version_of(folder)
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ArtifactRejected, match=r"tokenizer\.json is missing"):
        verified(folder, version)


def test_a_changed_manifest_has_another_name(folder):
    version = version_of(folder)
    changed = json.loads((folder / MANIFEST).read_bytes()) | {"max_length": 128}
    (folder / MANIFEST).write_text(json.dumps(changed))

    with pytest.raises(ArtifactRejected, match="hashes to"):
        verified(folder, version)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"base": 1}'])
def test_what_is_no_manifest_is_refused(folder, content):
    version = version_of(folder)
    (folder / MANIFEST).write_bytes(content)

    with pytest.raises(ArtifactRejected):
        verified(folder, version)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "sub/file", ""])
def test_a_file_outside_the_folder_is_refused(folder, name):
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = "0" * 64

    with pytest.raises(ArtifactRejected):
        Manifest.of_json(json.dumps(manifest).encode())


def test_a_version_comes_back_from_the_store_as_it_went_in(folder, tmp_path):
    store = Store(str(tmp_path / "store"))

    version = store.put(folder)
    fetched = store.fetch(version, tmp_path / "cache")

    assert version == version_of(folder)
    assert {p.name: p.read_bytes() for p in fetched.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_storing_a_version_twice_stores_it_once(folder, tmp_path):
    store = Store(str(tmp_path / "store"))

    assert store.put(folder) == store.put(folder)
    assert len(list((tmp_path / "store").iterdir())) == 1


def test_an_upload_that_did_not_finish_is_not_read_and_is_written_over(folder, tmp_path):
    store, version = Store(str(tmp_path / "store")), version_of(folder)
    store.put(folder)
    (tmp_path / "store" / version / MANIFEST).unlink()
    (tmp_path / "store" / version / "model.onnx").write_bytes(b"half of")

    with pytest.raises(ArtifactRejected, match="not complete"):
        store.fetch(version, tmp_path / "cache")
    store.put(folder)

    assert store.fetch(version, tmp_path / "cache").is_dir()


def test_a_corrupt_version_leaves_nothing_in_the_cache(folder, tmp_path):
    store = Store(str(tmp_path / "store"))
    version = store.put(folder)
    (tmp_path / "store" / version / "model.onnx").write_bytes(b"other bytes")

    with pytest.raises(ArtifactRejected):
        store.fetch(version, tmp_path / "cache")

    assert [kept for kept in (tmp_path / "cache").iterdir() if kept.is_dir()] == []


@pytest.mark.parametrize("state", ["missing", "rotten"])
def test_replicas_that_share_a_cache_never_take_a_copy_from_each_other(folder, tmp_path, state):
    store, cache = Store(str(tmp_path / "store")), tmp_path / "cache"
    version = store.put(folder)
    if state == "rotten":
        (store.fetch(version, cache) / "model.onnx").write_bytes(b"rotten")
    starting = Barrier(16)

    def replica(_number):
        starting.wait()
        return (store.fetch(version, cache) / "model.onnx").read_bytes()

    with ThreadPoolExecutor(16) as replicas:
        assert list(replicas.map(replica, range(16))) == [b"the graph"] * 16


def test_a_cached_copy_that_rotted_is_fetched_again(folder, tmp_path):
    store = Store(str(tmp_path / "store"))
    version = store.put(folder)
    cached = store.fetch(version, tmp_path / "cache")
    (cached / "model.onnx").write_bytes(b"rotten")

    assert verified(store.fetch(version, tmp_path / "cache"), version).version == version


def test_a_version_is_kept_behind_any_fsspec_url(folder, tmp_path):
    store = Store("memory://versions")

    version = store.put(folder)

    assert verified(store.fetch(version, tmp_path / "cache"), version).version == version


def test_without_knots_relevance_is_the_sigmoid():
    relevance = Anchor(own=(), base=()).relevance(np.log([1.0, 3.0, 1 / 3]))

    assert relevance == pytest.approx([1 / 2, 3 / 4, 1 / 4])


def test_a_logit_at_a_knot_gets_the_relevance_of_the_base_there():
    anchor = Anchor(own=(0.0, 10.0), base=(-1.0, 1.0))

    halfway, above = anchor.relevance(np.array([5.0, 11.0]))

    assert halfway == pytest.approx(0.5)
    # One above the last knot is one above the base's last knot: 1 + 1.
    assert above == pytest.approx(1 / (1 + np.exp(-2.0)))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).map(sorted))
def test_relevance_never_falls_as_the_logit_rises(logits):
    relevance = Anchor(own=(-2.0, 0.5, 3.0), base=(-9.0, 0.0, 0.1)).relevance(np.array(logits))

    assert (np.diff(relevance) >= 0).all()
    assert ((relevance >= 0) & (relevance <= 1)).all()


def test_an_anchor_that_does_not_rise_is_refused():
    with pytest.raises(ValueError, match="rising"):
        Anchor(own=(0.0, 0.0), base=(1.0, 2.0))
    with pytest.raises(ValueError, match="as many"):
        Anchor(own=(0.0, 1.0), base=(1.0,))
