"""The ceiling: the same trainable weights and the same budget, taught by gold labels instead of feedback.

    python -m trainer.supervised --questions TRAIN.jsonl --events 4000 --out FOLDER
        [--base minilm] [--capacity fusion|last_layer|lora|everything] [--seed 0] [--threads 1]
        [--evaluate HELD_OUT.jsonl --scores SCORES.jsonl]

Questions and held-out questions are lines of `{"query": "...", "documents": [{"text": "...", "score": 1.5}, ...],
"gold": [3]}`: documents in the first stage's order, its score optional, gold the positions of those that answer.
An event is a question drawn with replacement, as traffic draws them; each is learned from listwise,

    loss = - log sum_{gold} softmax(logits)

with the optimiser, rate, batch and epochs of a round. FOLDER receives `weights.safetensors`; SCORES one line
`{"scores": [...]}` of logits for each held-out question, in its order. The last line printed is a JSON object with
the recall@1 of the base and of what was trained on the held-out questions.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from contract.artifact import WEIGHTS
from contract.records import Candidate
from contract.tokens import PairTokenizer
from trainer import base
from trainer.activations import Activations
from trainer.base import Base
from trainer.ladder import Rung, rung
from trainer.learner import Capacity, Learner, Listing
from trainer.settings import TrainerSettings
from trainer.train import MAX_GRADIENT, schedule

SETTINGS: Final = TrainerSettings.model_construct()
"""The defaults of a round; nothing here needs a database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request whose answer is known."""

    query: str
    candidates: tuple[Candidate, ...]
    gold: tuple[int, ...]
    """Request positions."""

    @classmethod
    def of_json(cls, line: str) -> Self:
        row = json.loads(line)
        return cls(
            query=row["query"],
            candidates=tuple(
                Candidate(text=each["text"], score=each.get("score")) for each in row["documents"]
            ),
            gold=tuple(row["gold"]),
        )

    @property
    def listing(self) -> Listing:
        return Listing.of(self.query, self.candidates)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    start = base.load(options.base)
    questions, held_out = _questions(options.questions), _questions(options.evaluate)
    how = rung(Capacity(options.capacity), SETTINGS)
    activations = Activations(
        start.reranker,
        PairTokenizer.from_file(start.tokenizer_path, max_length=start.max_length),
        pad_id=start.pad_id,
        max_bytes=SETTINGS.trainer_cache_bytes,
    )
    asked = [each.listing for each in held_out]
    taught = [each.listing for each in questions]
    with Learner.of(start.reranker, how.capacity, activations, [*taught, *asked]) as learner:
        before = learner.scored(asked)
        teach(learner, questions, rung=how, events=options.events, seed=options.seed)
        after, learned = learner.scored(asked), learner.state()
    _save(start, learned, options.out)
    _write(after, options.scores)
    found = {"base": recall(before, held_out), "trained": recall(after, held_out)}
    sys.stdout.write(json.dumps(found | {"events": options.events, "seed": options.seed}) + "\n")
    return 0


def teach(
    learner: Learner,
    questions: Sequence[Question],
    *,
    rung: Rung,
    events: int,
    seed: int,
) -> None:
    """As many events and epochs as a round over all of them would have."""
    optimizer = torch.optim.AdamW(learner.parameters, lr=rung.lr)
    rate = schedule(optimizer, steps=rung.epochs * ceil(events / rung.batch))
    rng = np.random.default_rng(seed)
    answered = [at for at, question in enumerate(questions) if question.gold]
    drawn = rng.choice(answered, size=events)

    def loss(part: Sequence[int]) -> Tensor:
        logits = learner.scores([questions[at].listing for at in part])
        return listwise(logits, [questions[at].gold for at in part])

    for _ in range(rung.epochs):
        order = rng.permutation(drawn)
        for start in range(0, events, rung.batch):
            chosen = order[start : start + rung.batch].tolist()
            optimizer.zero_grad()
            learner.descend(chosen, loss)
            nn.utils.clip_grad_norm_(learner.parameters, MAX_GRADIENT)
            optimizer.step()
            rate.step()


def listwise(logits: Sequence[Tensor], gold: Sequence[Sequence[int]]) -> Tensor:
    """Mean of - log sum_{gold} softmax(logits).

    logits: (n,) for each question.
    """
    each = [
        one.logsumexp(0) - one[list(positions)].logsumexp(0)
        for one, positions in zip(logits, gold, strict=True)
    ]
    return torch.stack(each).mean()


def recall(logits: Sequence[Tensor], questions: Sequence[Question]) -> float | None:
    """Share of the questions that can be answered whose first document answers."""
    hits = [
        int(one.argmax()) in question.gold
        for one, question in zip(logits, questions, strict=True)
        if question.gold
    ]
    return float(np.mean(hits)) if hits else None


def _questions(path: Path | None) -> list[Question]:
    if path is None:
        return []
    return [Question.of_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(logits: Sequence[Tensor], path: Path | None) -> None:
    if path is not None:
        lines = [json.dumps({"scores": one.tolist()}) + "\n" for one in logits]
        path.write_text("".join(lines), encoding="utf-8")


def _save(start: Base, learned: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    start.reranker.load_state(start.reranker.state() | dict(learned))
    start.reranker.save(folder / WEIGHTS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.supervised",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--questions", type=Path, required=True)
    add("--events", type=int, required=True)
    add("--out", type=Path, required=True)
    add("--base", default=base.MINILM)
    add("--capacity", choices=[each.value for each in Capacity], default=Capacity.LAST_LAYER)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--evaluate", type=Path)
    add("--scores", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
