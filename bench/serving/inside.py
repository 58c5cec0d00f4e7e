"""A reranker in a process and an environment of its own: `python -m bench.serving.inside PEER FOLDER`.

It reads requests as lines of JSON and answers each with a line: `{"query", "documents"}` with `{"scores", "seconds"}`,
logits in the order of the documents, and with `"ids": true` in it with `{"ids"}`, the pairs' token ids. Its first line
says which version of which package it runs. Every peer is asked as its documentation asks it, with its own defaults.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, TypeVar

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Item = TypeVar("Item")

MAX_LENGTH: Final = 512
ONNX: Final = "onnx/model.onnx"
QUANTISED: Final = "onnx/model_int8.onnx"
FLASHRANK_NAME: Final = "ms-marco-MiniLM-L-12-v2"
FLASHRANK_FILE: Final = "flashrank-MiniLM-L-12-v2_Q.onnx"
"""FlashRank takes no other names; the weights in the file are ours."""
AT_ONCE: Final = 8
"""What TEI gives its ONNX backend in one batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What a peer does with a query and its documents."""

    package: str
    rank: Callable[[str, Sequence[str]], Iterable[float]]
    """Logits, in the order of the documents."""
    ids: Callable[[str, Sequence[str]], list[list[int]]]
    """Of each pair, as they enter the model, without padding."""


def infinity(folder: Path) -> Inside:
    """Its tokenizer alone: it is asked over HTTP."""
    from transformers import AutoTokenizer

    def rank(_query: str, _documents: Sequence[str]) -> Iterable[float]:
        raise LookupError("Infinity is asked over HTTP")

    return Inside(
        package="infinity-emb", rank=rank, ids=_of_auto(AutoTokenizer.from_pretrained(folder))
    )


def sentence_transformers(folder: Path) -> Inside:
    return _sentence_transformers(folder, "torch")


def sentence_transformers_onnx(folder: Path) -> Inside:
    return _sentence_transformers(folder, "onnx", {"file_name": ONNX})


def sentence_transformers_int8(folder: Path) -> Inside:
    return _sentence_transformers(folder, "onnx", {"file_name": QUANTISED})


def fastembed(folder: Path) -> Inside:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    name = "same/weights"
    TextCrossEncoder.add_custom_model(name, ModelSource(hf=name), model_file=ONNX)
    model = TextCrossEncoder(name, specific_model_path=str(folder))
    return Inside(package="fastembed", rank=model.rerank, ids=_of_tokenizer(model.model.tokenizer))


def flashrank(folder: Path) -> Inside:
    from flashrank import Ranker, RerankRequest

    ranker = Ranker(FLASHRANK_NAME, cache_dir=str(folder), max_length=MAX_LENGTH, log_level="ERROR")

    def rank(query: str, documents: Sequence[str]) -> list[float]:
        passages = [{"id": number, "text": text} for number, text in enumerate(documents)]
        found = ranker.rerank(RerankRequest(query=query, passages=passages))
        return [_logit(each["score"]) for each in sorted(found, key=lambda each: each["id"])]

    return Inside(package="FlashRank", rank=rank, ids=_of_tokenizer(ranker.tokenizer))


def rerankers(folder: Path) -> Inside:
    from rerankers import Reranker

    ranker = Reranker(str(folder), model_type="cross-encoder", device="cpu", verbose=0)

    def rank(query: str, documents: Sequence[str]) -> list[float]:
        found = ranker.rank(query, documents, doc_ids=list(range(len(documents))))
        return [each.score for each in sorted(found.results, key=lambda each: each.doc_id)]

    return Inside(package="rerankers", rank=rank, ids=_of_auto(ranker.tokenizer))


def tei_policy(folder: Path) -> Inside:
    """Text Embeddings Inference as its ONNX backend batches, on our graph: first in, first out, by eight."""
    from contract.artifact import MANIFEST, TOKENIZER, Manifest
    from contract.records import Candidate
    from contract.tokens import PairTokenizer
    from trainer.scoring import Served

    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    served = Served.load(
        folder, manifest, precision="float32", threads=len(os.sched_getaffinity(0))
    )
    tokenizer = PairTokenizer.from_file(folder / TOKENIZER, max_length=manifest.max_length)

    def rank(query: str, documents: Sequence[str]) -> Iterable[float]:
        for batch in by_eight([Candidate(text=text) for text in documents]):
            yield from served.logits(query, batch)

    def ids(query: str, documents: Sequence[str]) -> list[list[int]]:
        return [pair.ids.tolist() for pair in tokenizer.pairs(query, documents)]

    return Inside(package="onnxruntime", rank=rank, ids=ids)


PEERS: Final[Mapping[str, Callable[[Path], Inside]]] = {
    "infinity": infinity,
    "sentence-transformers-torch": sentence_transformers,
    "sentence-transformers-onnx": sentence_transformers_onnx,
    "sentence-transformers-int8": sentence_transformers_int8,
    "fastembed": fastembed,
    "flashrank": flashrank,
    "rerankers": rerankers,
    "tei-policy": tei_policy,
}


def by_eight(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """In the order they came.

    >>> [list(batch) for batch in by_eight(range(10))]
    [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]
    """
    return (items[first : first + AT_ONCE] for first in range(0, len(items), AT_ONCE))


def answer(inside: Inside, asked: Mapping[str, Any]) -> dict[str, Any]:
    query, documents = asked["query"], asked["documents"]
    if asked.get("ids"):
        return {"ids": inside.ids(query, documents)}
    began_at = time.perf_counter()
    scores = list(inside.rank(query, documents))
    seconds = time.perf_counter() - began_at
    return {"scores": [float(score) for score in scores], "seconds": seconds}


def _sentence_transformers(
    folder: Path,
    backend: Literal["torch", "onnx"],
    options: dict[str, Any] | None = None,
) -> Inside:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    model = CrossEncoder(
        str(folder),
        max_length=MAX_LENGTH,
        device="cpu",
        activation_fn=Identity(),
        backend=backend,
        model_kwargs=options,
    )

    def rank(query: str, documents: Sequence[str]) -> Iterable[float]:
        pairs = [(query, text) for text in documents]
        return [float(score) for score in model.predict(pairs, show_progress_bar=False)]

    return Inside(package="sentence-transformers", rank=rank, ids=_of_auto(model.tokenizer))


def _of_auto(tokenizer: Callable[..., Any]) -> Callable[[str, Sequence[str]], list[list[int]]]:
    def ids(query: str, documents: Sequence[str]) -> list[list[int]]:
        pairs = [(query, text) for text in documents]
        return list(tokenizer(pairs, truncation=True, max_length=MAX_LENGTH)["input_ids"])

    return ids


def _of_tokenizer(tokenizer: "Tokenizer") -> Callable[[str, Sequence[str]], list[list[int]]]:
    """Of the `tokenizers` package, which pads."""

    def ids(query: str, documents: Sequence[str]) -> list[list[int]]:
        encoded = tokenizer.encode_batch([(query, text) for text in documents])
        return [each.ids[: sum(each.attention_mask)] for each in encoded]

    return ids


def _logit(probability: float) -> float:
    return log(probability / (1 - probability))


def main(peer: str, folder: str) -> None:
    # Packages print what they like: what they print goes elsewhere.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        inside = PEERS[peer](Path(folder))
        _say({"package": inside.package, "version": version(inside.package)}, replies)
        for line in sys.stdin:
            _say(answer(inside, json.loads(line)), replies)


def _say(reply: Mapping[str, Any], replies: TextIO) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
