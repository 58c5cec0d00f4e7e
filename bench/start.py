"""Is the starting model worth starting from? Fused, alone, BM25 and the same weights as a bi-encoder, on test sets.

`python -m bench.start` writes `bench/results/start.json`. all-MiniLM-L6-v2 saw SQuAD's train questions: only the
test splits count. SQuAD: BM25's 20 best of the test passages. FairytaleQA: the sections of the question's story.
"""

import argparse
import json
import logging
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import safetensors.numpy
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from contract import artifact
from contract.artifact import Manifest
from contract.first_stage import FEATURES, features
from contract.tokens import Pair, PairTokenizer, pad
from trainer import base, datasets, export
from trainer.datasets import Dataset, Question

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

RESULTS: Final = Path(__file__).parent / "results" / "start.json"
CANDIDATES: Final = 20
QUESTIONS: Final = 1500
RESAMPLES: Final = 10_000
DEPTH: Final = 10
AT_ONCE: Final = 50
"""Questions whose pairs are sorted by length together."""
TOKENS_AT_ONCE: Final = 1024
BI_ENCODER_TOKENS: Final = 256
"""What sentence-transformers reads of a text with these weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question with its candidates, BM25's best first."""

    question: Question
    candidates: tuple[datasets.Candidate, ...]

    @property
    def gold(self) -> NDArray[np.bool_]:
        return np.array([each.passage.id in self.question.gold for each in self.candidates])


class CrossEncoder:
    """The exported base, without its part in the fusion, which is computed here for each kind of request."""

    def __init__(self, folder: Path, manifest: Manifest, *, precision: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file = folder / manifest.variants[precision].file
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = PairTokenizer.from_file(
            folder / artifact.TOKENIZER, max_length=manifest.max_length
        )
        self._manifest = manifest
        self._tokens_at_once = 1 if precision == "int8" else TOKENS_AT_ONCE

    def logits(self, asked: Sequence[Asked]) -> list[Floats]:
        """Of each question's candidates as if no first stage had spoken; similar lengths run together."""
        pairs = [
            pair
            for each in asked
            for pair in self._tokenizer.pairs(
                each.question.text, [candidate.passage.text for candidate in each.candidates]
            )
        ]
        logits = np.zeros(len(pairs))
        for run in self._runs(pairs):
            logits[run] = self._run([pairs[index] for index in run])
        ends = np.cumsum([len(each.candidates) for each in asked])
        return np.split(logits, ends[:-1])

    def _runs(self, pairs: Sequence[Pair]) -> Iterator[list[int]]:
        run: list[int] = []
        for index in sorted(range(len(pairs)), key=lambda i: len(pairs[i].ids)):
            if run and (len(run) + 1) * len(pairs[index].ids) > self._tokens_at_once:
                yield run
                run = []
            run.append(index)
        yield run

    def _run(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        batch = pad(pairs, pad_id=self._manifest.pad_id)
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "first_stage": np.zeros((len(pairs), len(FEATURES)), dtype=np.float32),
        }
        if self._manifest.token_type_ids:
            inputs["token_type_ids"] = batch.token_type_ids
        logits: NDArray[np.float32] = self._session.run(["logit"], inputs)[0]
        return logits


class BiEncoder:
    """The same weights as they were made: mean of the tokens, cosine."""

    def __init__(self) -> None:
        original = base.minilm(with_delta=False)
        self._bert = original.reranker.encoder.get_submodule("classifier.bert")
        self._tokenizer = Tokenizer.from_file(str(original.tokenizer_path))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(BI_ENCODER_TOKENS)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, hidden), of unit length."""
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Floats:
        ids = torch.tensor([self._tokenizer.encode(text).ids])
        mean = self._bert(input_ids=ids).last_hidden_state[0].mean(0)
        return np.asarray((mean / mean.norm()).numpy(), dtype=np.float64)


def evaluate(
    dataset: Dataset, encoder: CrossEncoder, weights: Floats, *, questions: int, seed: int
) -> dict[str, object]:
    """weights: what the fusion gives to each first-stage feature."""
    asked = _asked(dataset, questions=questions, seed=seed)
    logits: list[Floats] = []
    for start in range(0, len(asked), AT_ONCE):
        logits += encoder.logits(asked[start : start + AT_ONCE])
        logger.info("%s: %d of %d questions", dataset.name, len(logits), len(asked))
    ranks = _ranks(asked, logits, _cosines(asked), weights)
    return {
        "set": dataset.name,
        "n": len(asked),
        "gold_among_candidates": float(np.mean([each.gold.any() for each in asked])),
        "systems": {
            name: {"recall_at_1": float((rank == 1).mean()), "mrr_at_10": float(_mrr(rank).mean())}
            for name, rank in ranks.items()
        },
        "fused_minus": {
            other: {
                "recall_at_1": _interval((ranks["fused"] == 1) - 1.0 * (ranks[other] == 1), seed),
                "mrr_at_10": _interval(_mrr(ranks["fused"]) - _mrr(ranks[other]), seed),
            }
            for other in ("bm25", "bi_encoder", "cross_encoder")
        },
    }


def _asked(dataset: Dataset, *, questions: int, seed: int) -> list[Asked]:
    pool = dataset.questions["test"]
    chosen = random.Random(seed).sample(  # noqa: S311 -- a seeded sample, no secret
        pool, min(questions, len(pool))
    )
    return [
        Asked(question=each, candidates=tuple(dataset.candidates(each, n=CANDIDATES)))
        for each in chosen
    ]


def _cosines(asked: Sequence[Asked]) -> list[Floats]:
    encoder = BiEncoder()
    passages = {c.passage.id: c.passage.text for each in asked for c in each.candidates}
    known = dict(zip(passages, encoder.embed(list(passages.values())), strict=True))
    queries = encoder.embed([each.question.text for each in asked])
    return [
        np.stack([known[c.passage.id] for c in each.candidates]) @ query
        for each, query in zip(asked, queries, strict=True)
    ]


def _ranks(
    asked: Sequence[Asked], alone: Sequence[Floats], cosines: Sequence[Floats], weights: Floats
) -> dict[str, Floats]:
    """Of the best gold passage under each rule; infinite where no candidate is gold."""
    scored = [[candidate.score for candidate in each.candidates] for each in asked]
    systems: dict[str, Sequence[Floats]] = {
        "fused": [a + features(s) @ weights for a, s in zip(alone, scored, strict=True)],
        "fused_without_scores": [a + features([None] * len(a)) @ weights for a in alone],
        "cross_encoder": alone,
        "bm25": [-np.arange(len(a), dtype=np.float64) for a in alone],
        "bi_encoder": cosines,
    }
    return {
        name: np.array([_rank(*pair) for pair in zip(scores, asked, strict=True)])
        for name, scores in systems.items()
    }


def _rank(scores: Floats, each: Asked) -> float:
    in_order = each.gold[np.argsort(-scores, kind="stable")]
    return float(in_order.argmax()) + 1 if in_order.any() else np.inf


def _mrr(ranks: Floats) -> Floats:
    return np.where(ranks <= DEPTH, 1 / ranks, 0.0)


def _interval(differences: Floats, seed: int) -> dict[str, float]:
    """Mean of paired differences with its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    n = len(differences)
    means = [differences[rng.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(differences.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--base", default=base.MINILM)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = export.export_base(arguments.base, folder)
        state = safetensors.numpy.load_file(folder / artifact.WEIGHTS)
        encoder = CrossEncoder(
            folder, made.manifest, precision=arguments.precision, threads=arguments.threads
        )
        report: dict[str, Any] = {
            "command": " ".join(["python -m bench.start", *sys.argv[1:]]),
            "base": arguments.base,
            "precision": arguments.precision,
            "seed": arguments.seed,
            "sets": [],
        }
        for data in arguments.data:
            found = evaluate(
                datasets.load(data),
                encoder,
                state["fusion.first_stage"].astype(np.float64),
                questions=arguments.questions,
                seed=arguments.seed,
            )
            report["sets"].append(found)
            arguments.out.parent.mkdir(exist_ok=True)
            arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
