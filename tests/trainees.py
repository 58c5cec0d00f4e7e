"""A small random cross-encoder and what its policy would have logged, for tests that train and judge."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from contract import ids, policy
from contract.first_stage import features
from contract.plackett_luce import Logits
from contract.policy import Policy
from contract.records import Candidate, Decision
from contract.tokens import PairTokenizer, pad
from tests import models
from trainer.examples import Example
from trainer.model import Reranker

WORDS: Final = ("old", "new", "red", "blue", "cat", "dog", "sun", "sea", "one", "ten")
"""Letters are tokens: no other word has a w."""
MAX_LENGTH: Final = 128
CANDIDATES: Final = 10
"""Of a request: enough for a calibrated policy to hesitate."""
RULE: Final = Policy(epsilon=0.5, temperature=1.0)


def reranker(*, seed: int = 0) -> Reranker:
    return Reranker(classifier(seed=seed)).eval()


def base(folder: Path, *, seed: int = 0) -> Path:
    """The same as a folder that `--base` takes."""
    folder.mkdir()
    classifier(seed=seed).save_pretrained(folder)
    models.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def classifier(*, seed: int) -> BertForSequenceClassification:
    """Two layers of 32, with weights large enough that tokens matter."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(models.VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.3,
    )
    config.num_labels = 1
    config._attn_implementation = "eager"
    return BertForSequenceClassification(config)


def tokenizer() -> PairTokenizer:
    return PairTokenizer(models.tokenizer(), max_length=MAX_LENGTH)


@torch.no_grad()
def logits(model: Reranker, query: str, documents: Sequence[str]) -> Logits:
    """What the whole model says, nothing cached."""
    batch = pad(tokenizer().pairs(query, documents))
    scores = model(
        torch.from_numpy(batch.input_ids),
        torch.from_numpy(batch.attention_mask),
        torch.from_numpy(batch.token_type_ids),
        torch.from_numpy(features([None] * len(documents))),
    )
    double: Logits = scores.double().numpy()
    return double


def log(
    model: Reranker,
    *,
    reward: Callable[[Sequence[str]], float],
    decisions: int,
    seed: int = 0,
    rule: Policy = RULE,
) -> list[Example]:
    """Requests of random documents, ranked by the model; `reward` is of the first shown."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(decisions):
        query = " ".join(rng.choice(WORDS, size=4))
        documents = [" ".join(rng.choice(WORDS, size=3)) for _ in range(CANDIDATES)]
        scores = logits(model, query, documents)
        examples.append(
            example(
                query=query, documents=documents, scores=scores, reward=reward, rng=rng, rule=rule
            )
        )
    return examples


def example(
    *,
    query: str,
    documents: Sequence[str],
    scores: Logits,
    reward: Callable[[Sequence[str]], float],
    rng: np.random.Generator,
    rule: Policy = RULE,
    used: int = 1,
) -> Example:
    """One decision by these scores; `reward` is of the used documents, in order."""
    choice = policy.choose(scores, rule, rng, top_n=len(documents))
    return Example(
        decision=Decision(
            id=ids.mint("default", secret=b"tiny", now=datetime.now(UTC)),
            tenant="default",
            line="default",
            query=query,
            candidates=tuple(Candidate(text=text) for text in documents),
            logits=scores,
            policy=rule,
            choice=choice,
            version="tiny",
            epoch=1,
            precision="float32",
        ),
        used=used,
        reward=reward([documents[at] for at in choice.shown[:used]]),
        credits={},
        cited=frozenset(),
        query_sha256=hashlib.sha256(query.encode()).digest(),
        fresh=True,
    )
