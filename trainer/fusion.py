"""Fits the few weights that fuse a cross-encoder with the first stage, on questions whose passages are known."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from contract.first_stage import features
from contract.tokens import PairTokenizer
from trainer import pairs
from trainer.datasets import Dataset, Question
from trainer.model import Fusion, Reranker

CANDIDATES: Final = 20
QUESTIONS: Final = 80
"""Asked of each set."""
ITERATIONS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One list: N candidates in first-stage order."""

    pair_logits_N: Tensor
    first_stage_NF: Tensor
    gold_N: Tensor


@torch.no_grad()
def judge(
    reranker: Reranker, tokenizer: PairTokenizer, dataset: Dataset, *, seed: int
) -> list[Judged]:
    """Scores BM25 candidates of some validation questions; those without a gold candidate are left out.

    Every list comes twice, with and without the first stage's scores: apps send both kinds of request.
    """
    chosen = random.Random(seed).sample(dataset.questions["validation"], QUESTIONS)
    return [
        judged
        for question in chosen
        for judged in _judged(reranker, tokenizer, dataset, question=question)
    ]


def fit(fusion: Fusion, sets: Sequence[Sequence[Judged]]) -> None:
    """Softmax cross-entropy of the gold candidates for the weights; then a logistic fit for the bias.

    Every set counts the same. The order needs no bias: with it, a logit's sigmoid is the share of such
    candidates that are gold.
    """
    _minimise([fusion.pair, fusion.first_stage], lambda: _mean(fusion, sets, loss=_softmax_loss))
    _minimise([fusion.bias], lambda: _mean(fusion, sets, loss=_logistic_loss))


def _judged(
    reranker: Reranker, tokenizer: PairTokenizer, dataset: Dataset, *, question: Question
) -> list[Judged]:
    found = dataset.candidates(question, n=CANDIDATES)
    gold_N = torch.tensor([float(each.passage.id in question.gold) for each in found])
    if not gold_N.any():
        return []
    tokens = tokenizer.pairs(question.text, [each.passage.text for each in found])
    pair_logits_N = pairs.logits(reranker, tokens)
    score_lists = ([each.score for each in found], [None] * len(found))
    return [
        Judged(
            pair_logits_N=pair_logits_N,
            first_stage_NF=torch.from_numpy(features(scores)),
            gold_N=gold_N,
        )
        for scores in score_lists
    ]


def _mean(
    fusion: Fusion,
    sets: Sequence[Sequence[Judged]],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    return torch.stack(
        [
            torch.stack(
                [loss(fusion(one.pair_logits_N, one.first_stage_NF), one.gold_N) for one in lists]
            ).mean()
            for lists in sets
        ]
    ).mean()


def _softmax_loss(logits_N: Tensor, gold_N: Tensor) -> Tensor:
    return logits_N.logsumexp(0) - logits_N[gold_N > 0].logsumexp(0)


def _logistic_loss(logits_N: Tensor, gold_N: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits_N, gold_N)


def _minimise(parameters: Sequence[nn.Parameter], loss: Callable[[], Tensor]) -> None:
    for parameter in parameters:
        parameter.requires_grad = True
    optimizer = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
