import json
import random
from pathlib import Path

import pytest
import torch

from contract.tokens import PairTokenizer
from tests import crossencoders
from trainer import datasets, delta, fusion, warmstart
from trainer.datasets import Dataset
from trainer.encoders import UnsupportedFamily
from trainer.fusion import Judged
from trainer.model import Fusion, Reranker
from trainer.warmstart import Plan

COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")
PLAN = Plan(steps=4, lists_per_step=2, negatives=2, warm_up_steps=2)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Each text names a thing and its colour; each question asks for one."""
    things = [f"thing{number}" for number in range(len(COLOURS))]
    passages = [
        {"id": thing, "title": "", "split": "train", "text": f"the {thing} is {colour}"}
        for thing, colour in zip(things, COLOURS, strict=True)
    ]
    questions = [
        {"id": t, "question": f"what is {t}", "answers": [c], "passage_id": t, "title": ""}
        for t, c in zip(things, COLOURS, strict=True)
    ]
    files: dict[str, list] = {"passages": passages, "questions.train": questions}
    for name, rows in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return datasets.load(tmp_path)


@pytest.fixture
def tokenizer(tmp_path: Path) -> PairTokenizer:
    return PairTokenizer(crossencoders.tokenizer(), max_length=64)


def prepared() -> Reranker:
    reranker = Reranker(crossencoders.model("bert"), match=True).eval()
    torch.manual_seed(0)
    delta.insert(reranker, rank=2)
    return reranker


def test_the_learning_rate_rises_stays_and_falls_while_texts_grow():
    plan = Plan(steps=100, learning_rate=1.0, warm_up_steps=10, ending=0.5)

    assert [plan.rate(step) for step in (0, 9, 49, 75)] == pytest.approx([0.1, 1, 1, 0.5])
    assert plan.characters(50) == plan.short_characters
    assert plan.characters(51) == plan.long_characters


def test_runs_of_any_length_begin_alike(dataset: Dataset):
    short, long = (Plan(steps=steps, lists_per_step=2, negatives=2) for steps in (10, 20))

    begun = [next(warmstart.steps([dataset], plan)) for plan in (short, long)]

    assert begun[0] == begun[1]


def test_a_list_is_the_gold_text_and_others_that_do_not_hold_the_answer(dataset: Dataset):
    for lists in warmstart.steps([dataset], PLAN):
        for each in lists:
            thing = each.question.removeprefix("what is ")
            assert thing in each.texts[0]
            assert len(each.texts) == 1 + PLAN.negatives
            assert all(thing not in text for text in each.texts[1:])


def test_a_question_whose_answer_was_cut_off_is_left_out(dataset: Dataset):
    question = dataset.questions["train"][0]
    rng = random.Random(0)

    assert warmstart.training_list(dataset, question, plan=PLAN, characters=100, rng=rng)
    assert not warmstart.training_list(dataset, question, plan=PLAN, characters=9, rng=rng)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    dataset: Dataset, tokenizer: PairTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, halves = prepared(), prepared()
    once, twice = tmp_path / "once", tmp_path / "twice"
    monkeypatch.setattr(warmstart, "KEEP_EVERY", 2)

    warmstart.train(whole, tokenizer, [dataset], plan=PLAN, checkpoint=once)

    real = warmstart.steps
    monkeypatch.setattr(warmstart, "steps", lambda *given: list(real(*given))[:2])
    warmstart.train(halves, tokenizer, [dataset], plan=PLAN, checkpoint=twice)
    monkeypatch.setattr(warmstart, "steps", real)
    resumed = prepared()
    warmstart.train(resumed, tokenizer, [dataset], plan=PLAN, checkpoint=twice)

    assert delta.learned(resumed).keys() == delta.learned(whole).keys()
    for name, tensor in delta.learned(whole).items():
        assert torch.equal(delta.learned(resumed)[name], tensor), name


def test_training_changes_what_is_learned_and_nothing_else(
    dataset: Dataset, tokenizer: PairTokenizer, tmp_path: Path
):
    reranker = prepared()
    before = {name: p.detach().clone() for name, p in reranker.named_parameters()}

    warmstart.train(reranker, tokenizer, [dataset], plan=PLAN, checkpoint=tmp_path / "c")

    changed = {n for n, p in reranker.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert changed <= {n for n, p in reranker.named_parameters() if p.requires_grad}


@torch.no_grad()
def test_a_stored_delta_turns_the_plain_model_into_the_trained_one(tmp_path: Path):
    trained = prepared()
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    trained.fusion.first_stage.copy_(torch.tensor([1.0, 2.0, 3.0]))
    plain = Reranker(crossencoders.model("bert"), match=True).eval()
    delta.save(delta.learned(trained), tmp_path / "delta", metadata={"rank": "2"})
    ids = torch.randint(4, 100, (3, 10), generator=torch.Generator().manual_seed(0))
    inputs = (ids, torch.ones_like(ids), (torch.arange(10) > 4).long().expand(3, 10))

    delta.merge(plain, tmp_path / "delta")

    # Half precision has about three digits.
    expected = trained(*inputs, torch.ones(3, 3))
    assert torch.allclose(plain(*inputs, torch.ones(3, 3)), expected, rtol=2e-2, atol=2e-2)


def test_only_an_encoder_with_a_match_starts_by_matching():
    with pytest.raises(UnsupportedFamily, match="match"):
        warmstart.start_matching(Reranker(crossencoders.model("bert")), seed=0)


def test_fusion_weighs_what_tells_gold_from_others():
    generator = torch.Generator().manual_seed(0)
    lists = []
    for _ in range(40):
        place = int(torch.randint(0, 4, (1,), generator=generator))
        gold = torch.nn.functional.one_hot(torch.tensor(place), 4).float()
        noise = torch.randn(4, generator=generator)
        first_stage = torch.stack([gold + 0.3 * noise, noise, noise.flip(0)], dim=1)
        lists.append(Judged(pair_logits_N=noise, first_stage_NF=first_stage, gold_N=gold))
    weights = Fusion()

    fusion.fit(weights, [lists])

    assert weights.first_stage[0] > 1
    with torch.no_grad():
        fused = [weights(each.pair_logits_N, each.first_stage_NF) for each in lists]
    share = torch.stack(fused).sigmoid().mean()
    # A logistic fit with a free bias predicts as many gold candidates as there are: one of four.
    assert float(share) == pytest.approx(0.25, abs=1e-3)
