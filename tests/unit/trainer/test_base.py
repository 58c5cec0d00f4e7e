import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from contract.pair_template import PairTemplate
from contract.tokens import PairTokenizer, pad
from tests import crossencoders
from trainer import base
from trainer.base import BaseRefused


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
def test_a_local_folder_of_each_family_starts_a_line(tmp_path: Path, family: str):
    folder = crossencoders.folder(tmp_path, family)

    loaded = base.load(str(folder))

    assert loaded.family == family
    assert loaded.max_length == 512
    assert loaded.tokenizer_path == folder / "tokenizer.json"
    assert not loaded.reranker.training


def test_the_positions_of_the_model_limit_the_length_of_a_pair(tmp_path: Path):
    folder = crossencoders.folder(tmp_path, "bert", max_position_embeddings=40)

    assert base.load(str(folder)).max_length == 40
    assert base.load(str(folder), max_length=30).max_length == 30


def test_weights_of_another_precision_are_loaded_as_float32(tmp_path: Path):
    crossencoders.model("bert").half().save_pretrained(tmp_path)
    crossencoders.tokenizer().save(str(tmp_path / "tokenizer.json"))

    loaded = base.load(str(tmp_path))

    assert {p.dtype for p in loaded.reranker.parameters()} == {torch.float32}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(BaseRefused, match="neither a folder nor"):
        base.load(str(tmp_path / "nowhere"))


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(BaseRefused, match="no local folder with a model"):
        base.load(str(tmp_path))


def test_more_than_one_label_is_refused(tmp_path: Path):
    folder = crossencoders.folder(tmp_path, "bert", num_labels=3)

    with pytest.raises(BaseRefused, match="3 labels"):
        base.load(str(folder))


def test_another_family_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "distilbert"}))

    with pytest.raises(BaseRefused, match="distilbert"):
        base.load(str(tmp_path))


def test_a_model_without_a_classifier_is_refused(tmp_path: Path):
    body = crossencoders.model("bert").base_model
    assert isinstance(body, PreTrainedModel)
    body.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "LABEL_0"}}))

    with pytest.raises(BaseRefused, match=r"no cross-encoder: it has no classifier\.bias"):
        base.load(str(tmp_path))


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path):
    folder = crossencoders.folder(tmp_path, "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(BaseRefused, match="safetensors"):
        base.load(str(folder))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    folder = crossencoders.folder(tmp_path, "bert")
    (folder / "tokenizer.json").unlink()

    with pytest.raises(BaseRefused, match=r"no tokenizer\.json"):
        base.load(str(folder))


@torch.no_grad()
def test_the_default_base_knows_an_answer_from_a_related_text():
    loaded = base.load(base.MINILM)
    tokenizer = PairTokenizer.from_file(loaded.tokenizer_path, max_length=loaded.max_length)
    documents = [
        "The return label is free. From abroad the buyer pays for postage.",
        "Shoes may be returned within thirty days of delivery.",
        "Custard curdles above eighty-two degrees.",
    ]

    batch = pad(tokenizer.pairs("How long do I have to send shoes back?", documents))
    logits = loaded.reranker(
        torch.from_numpy(batch.input_ids),
        torch.from_numpy(batch.attention_mask),
        torch.from_numpy(batch.token_type_ids),
        torch.zeros(3, 3),
    )

    assert logits.argsort(descending=True).tolist() == [1, 0, 2]
    assert base.DELTA.stat().st_size <= 2_000_000


def test_pairs_of_the_default_base_are_made_by_a_template():
    tokenizer = Tokenizer.from_file(str(base.load(base.MINILM).tokenizer_path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    template = PairTemplate.of(tokenizer)

    assert template is not None
    assert [part.ids.tolist() for part in (template.prefix, template.between, template.suffix)] == [
        [101],
        [102],
        [102],
    ]


def test_changed_weights_of_the_default_base_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "MINILM_SHA256", "0" * 64)

    with pytest.raises(BaseRefused, match="not those that we know"):
        base.load(base.MINILM)
