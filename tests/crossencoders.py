"""Cross-encoders of every supported family with random weights, as folders that `--base` takes."""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

FAMILIES = ("bert", "xlm-roberta", "modernbert")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 300,
    "num_labels": 1,
    "attn_implementation": "eager",
}
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
WORDS = (
    *("the", "a", "is", "of", "in", "and", "how", "what", "to", "for", "may", "not", "no", "days"),
    *("der", "die", "und", "ein", "after", "from", "can", "it", "with", "are", ".", ",", "?"),
    *(f"thing{number}" for number in range(8)),
    *("red", "blue", "green", "white", "black", "brown", "pink", "grey"),
)


def model(family: str, **changes: object) -> PreTrainedModel:
    """Weights large enough that logits differ visibly."""
    torch.manual_seed(0)
    classifier: PreTrainedModel = MAKERS[family](SIZES | changes).eval()
    for name, parameter in classifier.named_parameters():
        if "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.25)
    return classifier


def folder(path: Path, family: str, **changes: object) -> Path:
    model(family, **changes).save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path


def tokenizer() -> Tokenizer:
    """A few words, one token for any other; pairs as <s> query </s> document </s>, typed 0 and 1."""
    pieces = [*SPECIAL, *WORDS]
    made = Tokenizer(
        models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>")
    )
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("</s>", 3), ("<s>", 2))
    return made


def _bert(sizes: dict) -> PreTrainedModel:
    return BertForSequenceClassification(BertConfig(**sizes, pad_token_id=0))


def _xlm_roberta(sizes: dict) -> PreTrainedModel:
    config = XLMRobertaConfig(
        **sizes, pad_token_id=0, max_position_embeddings=513, type_vocab_size=1
    )
    return XLMRobertaForSequenceClassification(config)


def _modernbert(sizes: dict) -> PreTrainedModel:
    config = ModernBertConfig(
        **sizes,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        local_attention=8,
        global_attn_every_n_layers=2,  # type: ignore[call-arg]  # taken, and not declared
        max_position_embeddings=512,
    )
    return ModernBertForSequenceClassification(config)


MAKERS: dict[str, Callable[[dict], PreTrainedModel]] = {
    "bert": _bert,
    "xlm-roberta": _xlm_roberta,
    "modernbert": _modernbert,
}
