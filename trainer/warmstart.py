"""Trains the delta that makes the shipped sentence encoder a cross-encoder: the start of every default line.

A list is a question's gold passage beside hard BM25 negatives; the loss is the softmax cross-entropy of the gold.
Texts are short at first and longer towards the end: most of matching is learned from short ones, for less.
`python -m trainer.warmstart --data DIR --data DIR --out FILE` resumes where it was cut off.
"""

import argparse
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from torch import Tensor, nn

from contract.tokens import PairTokenizer
from trainer import base, datasets, delta, fusion, pairs
from trainer.datasets import Dataset, Question
from trainer.encoders import BertEncoder, UnsupportedFamily
from trainer.model import Reranker

logger = logging.getLogger(__name__)

STEPS: Final = 1000
RANK: Final = 16
CANDIDATES: Final = 20
KEEP_EVERY: Final = 50
"""Steps from one checkpoint to the next."""
WRITTEN: Final = 15.0
READ: Final = 3.0
"""Norms of the direction in the first token and in the classifier: near the best for the untrained model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run does. Equal plans over equal data give equal weights."""

    steps: int
    lists_per_step: int = 4
    negatives: int = 4
    learning_rate: float = 8e-4
    warm_up_steps: int = 40
    ending: float = 0.35
    """Share of the steps with longer texts and a learning rate that falls to zero.

    Until it begins, runs of any length are alike: how long one can afford may be decided late.
    """
    short_characters: int = 450
    long_characters: int = 900
    seed: int = 0

    def characters(self, step: int) -> int:
        return self.short_characters if self._left(step) >= 1 else self.long_characters

    def rate(self, step: int) -> float:
        rising = (step + 1) / self.warm_up_steps
        return self.learning_rate * min(1.0, rising, self._left(step))

    def _left(self, step: int) -> float:
        """1 when the ending begins, 0 at the end."""
        return (self.steps - step) / (self.ending * self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList:
    """A question with texts, the first of which answers it."""

    question: str
    texts: tuple[str, ...]


def start_matching(reranker: Reranker, *, seed: int) -> None:
    """Lets the head read the match and nothing else: one direction, written, passed on and read back."""
    bert = reranker.encoder
    if not isinstance(bert, BertEncoder) or bert.match is None:
        message = "only an encoder with a match can start from it"
        raise UnsupportedFamily(message)
    shape = bert.match.direction.shape
    direction = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    direction /= direction.norm()
    pooler, classifier = (_linear(module) for module in bert.head_modules())
    with torch.no_grad():
        bert.match.direction.copy_(WRITTEN * direction)
        pooler.weight.copy_(torch.eye(len(direction)))
        classifier.weight.copy_(READ * direction[None])
        pooler.bias.zero_()
        classifier.bias.zero_()


def _linear(module: nn.Module) -> nn.Linear:
    return next(each for each in module.modules() if isinstance(each, nn.Linear))


def train(
    reranker: Reranker,
    tokenizer: PairTokenizer,
    sets: Sequence[Dataset],
    *,
    plan: Plan,
    checkpoint: Path,
) -> None:
    """Fills the delta of a reranker prepared by `delta.insert`."""
    parameters = [p for p in reranker.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=0.01)
    done = _resume(optimizer, parameters, checkpoint)
    started = time.monotonic()
    recent = 0.0
    for step, lists in enumerate(steps(sets, plan)):
        if step < done:
            continue
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        loss = _loss(reranker, tokenizer, lists)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        recent += (float(loss.detach()) - recent) / min(step - done + 1, 25)
        if (step + 1) % 10 == 0 or step + 1 == plan.steps:
            rate = (step + 1 - done) / (time.monotonic() - started)
            logger.info(
                "step %d of %d: loss %.3f, %.2f steps/s", step + 1, plan.steps, recent, rate
            )
        if (step + 1) % KEEP_EVERY == 0 or step + 1 == plan.steps:
            _keep(optimizer, parameters, checkpoint, done=step + 1)


def steps(sets: Sequence[Dataset], plan: Plan) -> Iterator[list[TrainingList]]:
    """The lists of each step. A set is drawn in proportion to the square root of its size."""
    rng = random.Random(plan.seed)
    queues = [_endless(dataset, rng) for dataset in sets]
    weights = [len(dataset.questions["train"]) ** 0.5 for dataset in sets]
    for step in range(plan.steps):
        lists: list[TrainingList] = []
        while len(lists) < plan.lists_per_step:
            dataset, question = next(rng.choices(queues, weights)[0])
            found = training_list(
                dataset, question, plan=plan, characters=plan.characters(step), rng=rng
            )
            lists += [found] if found else []
        yield lists


def _endless(dataset: Dataset, rng: random.Random) -> Iterator[tuple[Dataset, Question]]:
    while True:
        questions = list(dataset.questions["train"])
        rng.shuffle(questions)
        yield from ((dataset, question) for question in questions)


def training_list(
    dataset: Dataset, question: Question, *, plan: Plan, characters: int, rng: random.Random
) -> TrainingList | None:
    """None where the cut text no longer answers, or too few others certainly do not answer."""
    gold = dataset.passages[rng.choice(sorted(question.gold))].text
    if len(gold) > characters and not _answers(question, gold[:characters]):
        return None
    others = [
        candidate.passage.text
        for candidate in dataset.candidates(question, n=CANDIDATES)
        if candidate.passage.id not in question.gold
        and not _answers(question, candidate.passage.text)
    ]
    if len(others) < plan.negatives:
        return None
    texts = [gold, *rng.sample(others, plan.negatives)]
    return TrainingList(question=question.text, texts=tuple(text[:characters] for text in texts))


def _answers(question: Question, text: str) -> bool:
    return any(answer.lower() in text.lower() for answer in question.answers)


def _loss(reranker: Reranker, tokenizer: PairTokenizer, lists: Sequence[TrainingList]) -> Tensor:
    tokens = [pair for one in lists for pair in tokenizer.pairs(one.question, one.texts)]
    logits_LN = pairs.logits(reranker, tokens).view(len(lists), -1)
    return nn.functional.cross_entropy(logits_LN, torch.zeros(len(lists), dtype=torch.long))


def _keep(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    checkpoint: Path,
    *,
    done: int,
) -> None:
    """Stores parameters and the optimizer's moments: first a temporary file, then its name."""
    tensors = {"done": torch.tensor(done)}
    for number, parameter in enumerate(parameters):
        moments = optimizer.state[parameter]
        tensors[f"{number}.value"] = parameter.detach()
        tensors[f"{number}.mean"] = moments["exp_avg"]
        tensors[f"{number}.square"] = moments["exp_avg_sq"]
    unfinished = checkpoint.with_suffix(".unfinished")
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, unfinished)
    unfinished.replace(checkpoint)


def _resume(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], checkpoint: Path
) -> int:
    """Loads what `_keep` stored; the number of steps that are done."""
    if not checkpoint.exists():
        return 0
    tensors = safetensors.torch.load_file(checkpoint)
    done = int(tensors["done"])
    for number, parameter in enumerate(parameters):
        parameter.data.copy_(tensors[f"{number}.value"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(done)),
            "exp_avg": tensors[f"{number}.mean"],
            "exp_avg_sq": tensors[f"{number}.square"],
        }
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    run(
        [datasets.load(folder) for folder in arguments.data],
        out=arguments.out,
        plan=Plan(steps=arguments.steps, seed=arguments.seed),
    )


def run(sets: Sequence[Dataset], *, out: Path, plan: Plan) -> None:
    """Trains, fits the fusion weights on validation questions and stores the delta."""
    start = base.minilm(with_delta=False)
    reranker = start.reranker
    tokenizer = PairTokenizer.from_file(start.tokenizer_path, max_length=start.max_length)
    torch.manual_seed(plan.seed)
    start_matching(reranker, seed=plan.seed)
    delta.insert(reranker, rank=RANK)
    train(reranker, tokenizer, sets, plan=plan, checkpoint=out.with_suffix(".checkpoint"))
    judged = [fusion.judge(reranker, tokenizer, each, seed=plan.seed) for each in sets]
    fusion.fit(reranker.fusion, judged)
    metadata = {name: str(value) for name, value in asdict(plan).items()} | {
        "base_sha256": base.MINILM_SHA256,
        "data": " ".join(each.name for each in sets),
        "rank": str(RANK),
    }
    delta.save(delta.learned(reranker), out, metadata=metadata)
    logger.info("wrote %s, %.2f MB", out, out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
