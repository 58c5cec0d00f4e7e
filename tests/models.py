"""Tiny real model versions, made in milliseconds and without torch: bags of characters scored by a seeded vector."""

import string
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import redis
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sqlalchemy import Engine
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from contract import first_stage, publication
from contract.artifact import MANIFEST, TOKENIZER, Anchor, GoldenPair, Manifest, Variant, sha256
from contract.pointer import PUBLISH, Keys, Live
from contract.publication import Action
from contract.store import Store
from contract.tokens import PairTokenizer, pad

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS = string.ascii_lowercase + string.digits + string.punctuation
VOCABULARY = (*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS))
MAX_LENGTH = 64


def make(
    folder: Path,
    *,
    seed: int = 0,
    temperature: float = 0.5,
    tolerance: float = 1e-4,
    scale: float = 4.0,
    max_length: int = MAX_LENGTH,
    precisions: tuple[str, ...] = ("float32",),
) -> str:
    """Writes a complete version, whose logits come from `seed` alone.  Returns its name."""
    folder.mkdir(parents=True)
    tokenizer().save(str(folder / TOKENIZER))
    for precision in precisions:
        graph = network(np.random.default_rng(seed), scale=scale)
        (folder / f"{precision}.onnx").write_bytes(graph.SerializeToString())
    golden = tuple(
        GoldenPair(query="who", document=text, first_stage=tuple(row))
        for text, row in zip(
            ("the first", "another", "x"),
            first_stage.features([None, 2.0, 1.0]).tolist(),
            strict=True,
        )
    )
    manifest = Manifest(
        base="tiny",
        parent=None,
        run_id=None,
        family="bag",
        token_type_ids=False,
        pad_id=0,
        max_length=max_length,
        files={path.name: sha256(path) for path in folder.iterdir()},
        variants={
            precision: Variant(
                file=f"{precision}.onnx",
                temperature=temperature,
                golden_logits=tuple(
                    float(logits(folder, pair.query, [pair.document], [pair.first_stage])[0])
                    for pair in golden
                ),
                tolerance=tolerance,
            )
            for precision in precisions
        },
        golden=golden,
        anchor=Anchor(own=(), base=()),
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest.version


def version(folder: Path) -> str:
    """The name of what is in a folder."""
    return manifest(folder).version


def manifest(folder: Path) -> Manifest:
    """What that version says of itself."""
    return Manifest.of_json((folder / MANIFEST).read_bytes())


def tokenizer() -> Tokenizer:
    """Every letter is a token, in pairs as BERT has them."""
    pieces = Tokenizer(
        models.WordPiece({token: id_ for id_, token in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return pieces


def network(rng: np.random.Generator, *, scale: float = 4.0) -> onnx.ModelProto:
    """A logit is the mean weight of the real tokens + 0.2 * reciprocal rank + 0.1 * standard score."""
    weights: dict[str, NDArray[Any]] = {
        "weights": (scale * rng.normal(size=(len(VOCABULARY), 1))).astype(np.float32),
        "fusion": np.array([[0.2], [0.0], [0.1]], dtype=np.float32),
        "axis": np.array([1], dtype=np.int64),
        "last": np.array([2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["each"]),
        helper.make_node("Squeeze", ["each", "last"], ["flat"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["flat", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["first_stage", "fusion"], ["fused"]),
        helper.make_node("Squeeze", ["fused", "axis"], ["extra"]),
        helper.make_node("Add", ["mean", "extra"], ["logit"]),
    ]
    tokens = ["pairs", "tokens"]
    graph = helper.make_graph(
        nodes,
        "bag",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
            helper.make_tensor_value_info("first_stage", TensorProto.FLOAT, ["pairs", 3]),
        ],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["pairs"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def logits(
    folder: Path, query: str, documents: list[str], features: object = None
) -> NDArray[np.float64]:
    """What the version in this folder says, each pair alone: the truth that a service must reproduce."""
    rows = first_stage.features([None] * len(documents)) if features is None else features
    pairs = PairTokenizer.from_file(folder / TOKENIZER, max_length=MAX_LENGTH).pairs(
        query, documents
    )
    session = onnxruntime.InferenceSession(str(folder / "float32.onnx"))
    found = []
    for pair, row in zip(pairs, np.array(rows, dtype=np.float32), strict=True):
        batch = pad([pair])
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "first_stage": row[None],
        }
        found.append(session.run(["logit"], inputs)[0][0])
    return np.array(found, dtype=np.float64)


def promote(
    engine: Engine,
    version: str,
    *,
    manifest: Manifest,
    line: str = "default",
    share: float | None = None,
) -> Live:
    """Makes a version live in Postgres, as the trainer does; whether the store holds it is another matter.

    share: makes it a canary with that share, beside what is live.
    """
    with engine.begin() as connection:
        lease = publication.take_lease(line, holder="test", ttl=timedelta(minutes=1))
        token = connection.execute(lease).scalar_one()
        assert token is not None
        row = connection.execute(publication.live(line)).one_or_none()
        live = Live(line=line, epoch=0, version="") if row is None else publication.pointer(row)
        connection.execute(
            publication.register_version(
                version,
                line=line,
                base=manifest.base,
                uri=version,
                manifest=manifest.model_dump(mode="json"),
            )
        )
        then = (
            live.then(version)
            if share is None
            else live.then(live.version, canary_version=version, canary_share=share)
        )
        connection.execute(
            publication.promote(
                then,
                token=token,
                actor="test",
                reason="test",
                action=Action.PROMOTE if share is None else Action.CANARY,
            )
        )
    return then


def publish(
    engine: Engine,
    store: Store,
    folder: Path,
    *,
    line: str = "default",
    share: float | None = None,
) -> Live:
    """Stores a complete version and makes it live in Postgres, or a canary."""
    return promote(engine, store.put(folder), manifest=manifest(folder), line=line, share=share)


def announce(redis_url: str, live: Live, *, secret: bytes) -> str:
    """Tells Redis, as the trainer does after Postgres has it."""
    keys = Keys.of(live.line)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return str(
            client.eval(
                PUBLISH,
                3,
                keys.state,
                keys.events,
                keys.wake,
                live.epoch,
                live.signed(secret=secret),
            )
        )
