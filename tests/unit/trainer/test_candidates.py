"""Versions whose lower layers differ: what is computed ahead is of the champion that serves."""

import json

import pytest
import torch

from contract.records import Candidate as Document
from contract.store import Store
from tests import trainees, workbench
from trainer import export, heads
from trainer.activations import Activations
from trainer.candidates import Candidate, Champion, Workshop
from trainer.learner import Capacity, Learner, Listing

DOCUMENTS = ["new cat", "old red sea", "dog one"]
LISTING = Listing.of("sun two", [Document(text=text) for text in DOCUMENTS])


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "artifacts"))


@pytest.fixture
def base(store, tmp_path):
    folder = trainees.base(tmp_path / "base")
    return export.export_base(str(folder), tmp_path / "first", precisions=["float32"])


def workshop(store, folder, *capacities):
    settings = workbench.settings(
        "postgresql://nowhere", "redis://nowhere", folder, trainer_capacities=capacities
    )
    return Workshop(settings, store, threads=1)


def child(base, folder, capacity):
    """A version of which this capacity has changed all that it may."""
    champion = Champion.load(base.folder)
    activations = Activations(champion.reranker, champion.tokenizer, pad_id=0, max_bytes=0)
    with Learner.of(champion.reranker, capacity, activations, []) as learner:
        with torch.no_grad():
            for weight in learner.parameters:
                weight.add_(0.05 * torch.randn(weight.shape))
        state = learner.state()
    with champion.wearing(state):
        return export.export(champion.model, folder, parent=base.manifest, precisions=["float32"])


@pytest.mark.parametrize(
    ("capacity", "computed"),
    [
        (Capacity.FUSION, 1),
        (Capacity.LAST_LAYER, 1),
        (Capacity.LORA, 2),
        (Capacity.EVERYTHING, 2),
    ],
)
def test_activations_are_those_of_the_champion_that_serves(
    capacity, computed, base, store, tmp_path
):
    torch.manual_seed(3)
    next_one = child(base, tmp_path / "second", capacity)
    versions = [store.put(each.folder) for each in (base, next_one)]
    at_work = workshop(store, tmp_path, "last_layer")
    seen = []

    for version in versions:
        at_work.prepare(version, [LISTING])
        champion = at_work._load(version)
        activations = at_work._activations_of(champion)
        seen.append(activations)
        with torch.no_grad():
            logits = heads.pair_logits(champion.reranker.encoder, *activations.of(LISTING.pairs))
            fused = champion.reranker.fusion(logits, torch.from_numpy(LISTING.first_stage))
        exact = trainees.logits(champion.reranker, "sun two", DOCUMENTS)
        # Half precision: three digits of activations of order 1.
        assert fused.double().numpy() == pytest.approx(exact, abs=0.03)
        assert at_work.cached_pairs == len(DOCUMENTS)

    assert len({id(each) for each in seen}) == computed


def test_nothing_is_computed_ahead_where_no_rung_asks_for_it(base, store, tmp_path):
    version = store.put(base.folder)
    at_work = workshop(store, tmp_path, "lora", "everything")

    at_work.prepare(version, [LISTING])

    assert at_work.cached_pairs == 0


@pytest.mark.parametrize("capacity", Capacity)
def test_a_round_that_is_taken_up_finds_its_candidates_whatever_was_trained(capacity):
    made = Candidate(
        version="v",
        capacity=capacity,
        kl=0.1,
        epoch=2,
        length=0.5,
        expected_gain=0.03,
        agreement={"float32": 1.0},
        clipped={},
    )

    noted = json.loads(json.dumps(made.to_json()))

    assert Candidate.of_json(noted) == made
