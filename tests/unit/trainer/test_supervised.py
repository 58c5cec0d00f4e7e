import json
from math import log

import numpy as np
import pytest
import torch

from contract.artifact import WEIGHTS
from tests import trainees
from trainer import supervised
from trainer.activations import Activations
from trainer.ladder import Rung
from trainer.learner import Capacity, Learner
from trainer.objective import Objective
from trainer.supervised import Question

RUNG = Rung(
    capacity=Capacity.LAST_LAYER, lr=3e-3, epochs=2, kls=(0.1,), objective=Objective(), batch=16
)


def question(query, documents, gold):
    row = {"query": query, "documents": [{"text": text} for text in documents], "gold": gold}
    return Question.of_json(json.dumps(row))


def questions(n, *, seed):
    """One of four documents says new."""
    rng = np.random.default_rng(seed)
    plain = [word for word in trainees.WORDS if word != "new"]
    found = []
    for _ in range(n):
        documents = [" ".join(rng.choice(plain, size=3)) for _ in range(4)]
        gold = int(rng.integers(4))
        documents[gold] += " new"
        found.append(question(" ".join(rng.choice(plain, size=3)), documents, [gold]))
    return found


def test_the_loss_is_the_surprise_at_the_gold_documents():
    logits = [torch.tensor([log(2.0), log(1.0), log(1.0)]), torch.tensor([0.0, 0.0])]

    loss = supervised.listwise(logits, [[0], [0, 1]])

    assert loss.item() == pytest.approx((-log(2 / 4) - log(1.0)) / 2)


def test_gold_labels_teach():
    torch.set_num_threads(1)
    model = trainees.reranker()
    activations = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 24)
    taught, held_out = questions(200, seed=1), questions(100, seed=2)
    asked = [each.listing for each in held_out]

    with Learner.of(
        model, Capacity.LAST_LAYER, activations, [each.listing for each in taught]
    ) as learner:
        before = supervised.recall(learner.scored(asked), held_out)
        supervised.teach(learner, taught, rung=RUNG, events=400, seed=0)
        after = supervised.recall(learner.scored(asked), held_out)

    assert before is not None
    assert after is not None
    assert after > max(0.6, before)


@pytest.mark.parametrize("capacity", Capacity)
def test_the_command_teaches_any_capacity_and_writes_the_plain_model(capacity, tmp_path, capsys):
    folder = trainees.base(tmp_path / "base")
    rows = [
        {
            "query": each.query,
            "documents": [{"text": document.text} for document in each.candidates],
            "gold": list(each.gold),
        }
        for each in questions(8, seed=1)
    ]
    asked = tmp_path / "questions.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    threads = torch.get_num_threads()

    given = {"questions": asked, "evaluate": asked, "events": 40, "base": folder}
    options = given | {"capacity": capacity, "out": tmp_path / "out"}
    status = supervised.main(
        [part for name in options for part in (f"--{name}", str(options[name]))]
    )

    torch.set_num_threads(threads)
    start, end = trainees.reranker(), trainees.reranker()
    end.load(tmp_path / "out" / WEIGHTS)
    changed = {
        name for name, tensor in end.state().items() if not torch.equal(tensor, start.state()[name])
    }
    assert status == 0
    assert json.loads(capsys.readouterr().out)["events"] == 40
    assert ("encoder.classifier.bert.encoder.layer.0.attention.self.query.weight" in changed) == (
        capacity.is_whole
    )
    assert ("encoder.classifier.bert.embeddings.word_embeddings.weight" in changed) == (
        capacity is Capacity.EVERYTHING
    )


def test_recall_is_of_the_questions_that_can_be_answered():
    logits = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])]
    asked = [question("q", ["a", "b"], gold) for gold in ([0], [0], [])]

    assert supervised.recall(logits, asked) == 0.5
    assert supervised.recall([], []) is None


def test_a_first_stage_score_is_optional():
    row = {"query": "q", "documents": [{"text": "a", "score": 2.5}, {"text": "b"}], "gold": [1]}

    asked = Question.of_json(json.dumps(row))

    assert [each.score for each in asked.candidates] == [2.5, None]
    assert len(asked.listing.pairs) == 2
