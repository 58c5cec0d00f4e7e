from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from tests import crossencoders
from trainer.encoders import Match, UnsupportedFamily
from trainer.model import Reranker

PAIRS, TOKENS = 3, 12


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Three pairs, the second padded; documents begin at the fifth token."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 100, (PAIRS, TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 8:], mask[1, 8:] = 0, 0
    types = (torch.arange(TOKENS) > 4).long().expand(PAIRS, TOKENS)
    return ids, mask, types


def types_of(reranker: Reranker, types: Tensor) -> Tensor | None:
    return types if reranker.encoder.uses_token_types else None


FIRST_STAGE = torch.tensor([[1.0, 1.0, 2.0], [0.5, 0.63, 0.0], [0.33, 0.5, -2.0]])


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
@torch.no_grad()
def test_a_new_reranker_scores_exactly_as_its_cross_encoder(family: str):
    classifier = crossencoders.model(family)
    reranker = Reranker(classifier).eval()
    ids, mask, types = inputs()
    extra = {"token_type_ids": types} if reranker.encoder.uses_token_types else {}

    own = reranker(ids, mask, types_of(reranker, types), FIRST_STAGE)

    theirs = classifier(input_ids=ids, attention_mask=mask, **extra).logits[:, 0]
    # The last layer's sums run in another order: float32 rounding.
    assert torch.allclose(own, theirs, atol=1e-5)


@torch.no_grad()
def test_modernbert_may_pool_by_the_mean():
    classifier = crossencoders.model("modernbert", classifier_pooling="mean")
    ids, mask, _ = inputs()

    own = Reranker(classifier).eval()(ids, mask, None, FIRST_STAGE)

    assert torch.allclose(own, classifier(ids, mask).logits[:, 0], atol=1e-5)


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
@torch.no_grad()
def test_activations_then_head_is_the_whole_model(family: str):
    reranker = Reranker(crossencoders.model(family), match=family == "bert").eval()
    ids, mask, types = inputs()

    states = reranker.activations(ids, mask, types_of(reranker, types))

    whole = reranker(ids, mask, types_of(reranker, types), FIRST_STAGE)
    assert torch.equal(reranker.head_forward(states, mask, FIRST_STAGE), whole)


@torch.no_grad()
def test_the_logit_is_a_weighted_sum():
    reranker = Reranker(crossencoders.model("bert")).eval()
    ids, mask, types = inputs()
    alone = reranker(ids, mask, types, torch.zeros(PAIRS, 3))
    reranker.fusion.pair.fill_(2.0)
    reranker.fusion.first_stage.copy_(torch.tensor([1.0, 10.0, 100.0]))
    reranker.fusion.bias.fill_(0.5)

    fused = reranker(ids, mask, types, FIRST_STAGE)

    expected = 2 * alone + torch.tensor([1 + 10 + 200, 0.5 + 6.3, 0.33 + 5 - 200]) + 0.5
    assert torch.allclose(fused, expected, atol=1e-4)


def test_gradients_of_the_head_reach_the_last_layer_and_nothing_below():
    reranker = Reranker(crossencoders.model("bert")).eval()
    ids, mask, types = inputs()
    states = reranker.activations(ids, mask, types)

    reranker.head_forward(states, mask, FIRST_STAGE).sum().backward()

    moved = {id(p) for p in reranker.parameters() if p.grad is not None}
    assert moved == {id(p) for p in reranker.last_layer_parameters()}


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
def test_fusion_is_part_of_the_last_layer_and_small(family: str):
    reranker = Reranker(crossencoders.model(family))

    fusion = {id(p) for p in reranker.fusion_parameters()}

    assert sum(p.numel() for p in reranker.fusion_parameters()) == 1 + 3 + 1
    assert fusion < {id(p) for p in reranker.last_layer_parameters()}


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
def test_the_maps_of_queries_and_values_are_found_in_every_layer(family: str):
    reranker = Reranker(crossencoders.model(family))
    names = reranker.encoder.queries_and_values

    found = [
        name
        for name, module in reranker.encoder.layers().named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(names)
    ]

    # Three layers; ModernBERT makes queries, keys and values by one map.
    assert len(found) == 3 * {"bert": 2, "xlm-roberta": 2, "modernbert": 1}[family]


@torch.no_grad()
def test_a_match_is_the_mean_of_the_best_cosines_of_the_query_tokens():
    match = Match(2)
    match.direction.copy_(torch.tensor([1.0, 0.0]))
    query, document, padding = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [1.0, 1.0]], [[0.0, 9.0]]
    states = torch.tensor([query + document + padding])
    mask, types = torch.tensor([[1, 1, 1, 1, 0]]), torch.tensor([[0, 0, 1, 1, 1]])

    changed = match(states, mask, types)

    best = (1 + 0.5**0.5) / 2  # of (1, 0): itself; of (0, 1): (1, 1); the padding does not count
    assert changed[0, 0] == pytest.approx([1 + best - 0.69, 0], abs=1e-6)
    assert torch.equal(changed[0, 1:], states[0, 1:])


@torch.no_grad()
def test_saved_weights_bring_back_the_same_model(tmp_path: Path):
    reranker = Reranker(crossencoders.model("bert")).eval()
    reranker.fusion.first_stage.copy_(torch.tensor([1.0, 2.0, 3.0]))
    other = Reranker(crossencoders.model("bert")).eval()
    ids, mask, types = inputs()

    reranker.save(tmp_path / "weights.safetensors")
    other.load(tmp_path / "weights.safetensors")

    expected = reranker(ids, mask, types, FIRST_STAGE)
    assert torch.equal(other(ids, mask, types, FIRST_STAGE), expected)


def test_another_family_is_refused():
    config = DistilBertConfig(dim=8, n_heads=1, n_layers=1, hidden_dim=8, vocab_size=9)

    with pytest.raises(UnsupportedFamily, match="DistilBert"):
        Reranker(DistilBertForSequenceClassification(config))
