"""What each capacity changes, and that nothing is left of it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from contract.artifact import MANIFEST
from contract.records import Candidate
from contract.tokens import PairTokenizer, pad
from tests import crossencoders
from trainer import export
from trainer.activations import Activations
from trainer.adapters import Adapters
from trainer.candidates import Champion
from trainer.learner import Capacity, Learner, Listing
from trainer.model import Reranker
from trainer.scoring import Served

WHOLE = (Capacity.LORA, Capacity.EVERYTHING)
LISTS = [
    Listing.of(query, [Candidate(text=text) for text in documents])
    for query, documents in (
        ("how is the red thing", ["the red thing is red", "blue days", "a thing", "white"]),
        ("was ist blue", ["die blue thing 3 und der rest von allem", "no", "it is blue"]),
        ("what of green days", ["green", "not from the green days to the black days, may it"]),
    )
]
LAYERS = 3
ADAPTED = {
    "bert": {
        f"encoder.classifier.bert.encoder.layer.{layer}.attention.self.{name}.weight"
        for layer in range(LAYERS)
        for name in ("query", "value")
    },
    "xlm-roberta": {
        f"encoder.classifier.roberta.encoder.layer.{layer}.attention.self.{name}.weight"
        for layer in range(LAYERS)
        for name in ("query", "value")
    },
    "modernbert": {
        f"encoder.classifier.model.layers.{layer}.attn.Wqkv.weight" for layer in range(LAYERS)
    },
}
LAST = {
    "bert": "encoder.classifier.bert.encoder.layer.2.",
    "xlm-roberta": "encoder.classifier.roberta.encoder.layer.2.",
    "modernbert": "encoder.classifier.model.layers.2.",
}
HEAD = {
    "bert": ("encoder.classifier.bert.pooler.", "encoder.classifier.classifier."),
    "xlm-roberta": ("encoder.classifier.classifier.",),
    "modernbert": (
        "encoder.classifier.model.final_norm.",
        "encoder.classifier.head.",
        "encoder.classifier.classifier.",
    ),
}


def reranker(family):
    return Reranker(crossencoders.model(family), match=family == "bert").eval()


def tokenizer():
    return PairTokenizer(crossencoders.tokenizer(), max_length=64)


def activations(model):
    return Activations(model, tokenizer(), pad_id=0, max_bytes=1 << 20)


def learner(model, capacity, **given):
    return Learner.of(model, capacity, activations(model), LISTS, **given)


@torch.no_grad()
def whole(model):
    """What the reranker itself says of each list."""
    found = []
    for each in LISTS:
        batch = pad([tokenizer().pairs(query, [document])[0] for query, document in each.pairs])
        types = torch.from_numpy(batch.token_type_ids)
        found.append(
            model(
                torch.from_numpy(batch.input_ids),
                torch.from_numpy(batch.attention_mask),
                types if model.encoder.uses_token_types else None,
                torch.from_numpy(each.first_stage),
            )
        )
    return found


@torch.no_grad()
def disturb(learner, *, by=0.05):
    generator = torch.Generator().manual_seed(1)
    for weight in learner.parameters:
        weight.add_(by * torch.randn(weight.shape, generator=generator))


def fail(learner):
    disturb(learner)
    raise ValueError("broken")


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state().items()}


def expected(model, family, capacity):
    """Names of what the capacity may change."""
    names = {name for name, _ in model.named_parameters()}
    fusion = {"fusion.pair", "fusion.first_stage", "fusion.bias"}
    head = fusion | {name for name in names if name.startswith(HEAD[family])}
    return {
        Capacity.FUSION: fusion,
        Capacity.LAST_LAYER: head | {name for name in names if name.startswith(LAST[family])},
        Capacity.LORA: head | ADAPTED[family],
        Capacity.EVERYTHING: names,
    }[capacity]


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
@pytest.mark.parametrize("capacity", Capacity)
def test_a_capacity_changes_what_it_says_and_nothing_else(family, capacity):
    model = reranker(family)
    before = copied(model)

    with learner(model, capacity) as taught:
        disturb(taught)
        state = taught.state()

    assert set(state) == expected(model, family, capacity)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in state.items())
    assert all(tensor.shape == before[name].shape for name, tensor in state.items())


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
@pytest.mark.parametrize("capacity", Capacity)
def test_afterwards_the_reranker_is_what_it_was_to_the_bit(family, capacity):
    model = reranker(family)
    before, modules = copied(model), dict(model.named_modules())

    with pytest.raises(ValueError, match="broken"), learner(model, capacity) as taught:
        fail(taught)

    after = copied(model)
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert dict(model.named_modules()) == modules  # the same objects: no adapter is left
    assert not hasattr(model, "peft_config")
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
@pytest.mark.parametrize("capacity", WHOLE)
def test_plain_weights_score_as_those_that_were_trained(family, capacity):
    model = reranker(family)

    with learner(model, capacity) as taught:
        start = torch.cat(taught.scored(LISTS))
        disturb(taught)
        trained, state = torch.cat(taught.scored(LISTS)), taught.state()

    model.load_state(copied(model) | state)
    assert torch.allclose(torch.cat(whole(model)), trained, atol=1e-5)
    assert (trained - start).abs().min() > 1e-3


@pytest.mark.parametrize("family", crossencoders.FAMILIES)
@pytest.mark.parametrize("capacity", WHOLE)
def test_a_whole_rung_scores_as_the_reranker_does_and_keeps_nothing(family, capacity):
    model = reranker(family)
    kept = activations(model)

    with Learner.of(model, capacity, kept, LISTS) as taught:
        scored = taught.scored(LISTS)

    assert torch.allclose(torch.cat(scored), torch.cat(whole(model)), atol=1e-5)
    assert len(kept) == 0


def test_an_adapter_adds_a_matrix_of_its_rank():
    model = reranker("bert")
    before = copied(model)

    with learner(model, Capacity.LORA, rank=2) as taught:
        disturb(taught)
        state = taught.state()

    for name in ADAPTED["bert"]:
        assert torch.linalg.matrix_rank(state[name] - before[name], atol=1e-5) == 2


@pytest.mark.parametrize("capacity", WHOLE)
def test_half_of_the_way_is_half_of_what_was_added(capacity):
    model = reranker("xlm-roberta")
    before = copied(model)

    with learner(model, capacity) as taught:
        disturb(taught)
        reached = taught.state()
        with taught.part_of_the_way(0.5):
            half = taught.state()
        again = taught.state()

    for name, tensor in reached.items():
        assert torch.equal(again[name], tensor)
        assert torch.allclose(half[name], (before[name] + tensor) / 2, atol=1e-6)


@pytest.mark.parametrize("capacity", WHOLE)
def test_the_start_comes_back_within_and_every_try_begins_alike(capacity):
    model = reranker("modernbert")

    with learner(model, capacity) as taught:
        first = [weight.detach().clone() for weight in taught.parameters]
        disturb(taught)
        taught.reset()
        second = [weight.detach().clone() for weight in taught.parameters]
    with learner(model, capacity) as other:
        third = [weight.detach().clone() for weight in other.parameters]

    for each in (second, third):
        assert all(torch.equal(*pair) for pair in zip(first, each, strict=True))


def test_adapters_leave_the_random_numbers_of_others_alone():
    model = reranker("bert")
    torch.manual_seed(7)
    drawn = torch.rand(3)
    torch.manual_seed(7)

    Adapters(model, rank=4).take_out()

    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize("capacity", WHOLE)
def test_a_gradient_gathered_list_by_list_is_that_of_the_batch(capacity):
    model = reranker("bert")

    def mean(taught):
        return lambda part: torch.stack(
            [each.square().mean() for each in taught.scores([LISTS[at] for at in part])]
        ).mean()

    gradients = []
    for at_once in (1, None):
        with learner(model, capacity) as taught:
            disturb(taught)
            taught._at_once = at_once
            taught.descend(range(len(LISTS)), mean(taught))
            gradients.append([weight.grad for weight in taught.parameters])
            for weight in taught.parameters:
                weight.grad = None

    gathered, together = gradients
    largest = max(float(each.abs().max()) for each in together if each is not None)
    assert largest > 0
    for one, other in zip(gathered, together, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-5 * largest)


@pytest.mark.parametrize("capacity", WHOLE)
def test_a_whole_rung_asks_for_one_list_at_a_time(capacity):
    parts = []

    with learner(reranker("bert"), capacity) as taught:

        def loss(part):
            parts.append(part)
            return taught.parameters[0].sum()

        taught.descend([4, 2, 7], loss)

    assert parts == [[4], [2], [7]]


def test_peft_is_not_imported_before_a_rung_needs_it():
    code = "import sys, trainer.candidates, trainer.train_commands; print('peft' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "False"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    base = crossencoders.folder(folder / "base", "bert")
    return export.export_base(str(base), folder / "version", precisions=["float32"])


@pytest.mark.parametrize("capacity", WHOLE)
def test_what_was_trained_is_exported_and_the_file_scores_alike(capacity, start, tmp_path):
    champion = Champion.load(start.folder)
    before = copied(champion.reranker)
    with learner(champion.reranker, capacity) as taught:
        disturb(taught, by=0.02)
        state = taught.state()

    with champion.wearing(state):
        made = export.export(
            champion.model, tmp_path / "made", parent=start.manifest, precisions=["float32"]
        )
        torch_logits = whole(champion.reranker)

    served = Served.load(made.folder, made.manifest, precision="float32", threads=1)
    files = [
        served.logits(each.pairs[0][0], [Candidate(text=text) for _, text in each.pairs])
        for each in LISTS
    ]
    assert made.parity["float32"].agreement == 1
    assert made.parity["float32"].max_difference < 1e-4
    assert np.concatenate(files) == pytest.approx(torch.cat(torch_logits).numpy(), abs=1e-4)
    assert (made.folder / MANIFEST).exists()
    assert made.manifest.version != start.manifest.version
    after = copied(champion.reranker)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
