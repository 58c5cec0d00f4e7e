"""What the first stage already knew about a candidate, as inputs of the model.

The order of the request is the order of the app's own retriever. Fused with the cross-encoder's
logit it is worth more than either alone, so every model takes it as an input; a model that ignores
it has zero weights.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.records import Candidate

FEATURES: Final = ("reciprocal_rank", "rank_discount", "standard_score")
MAX_STANDARD_SCORE: Final = 4.0


def features(scores: Sequence[float | None]) -> NDArray[np.float32]:
    """One row for each candidate of a request, in request order.

        reciprocal_rank = 1 / (1 + i)        rank_discount = 1 / log2(2 + i)        i = 0, 1, ...
        standard_score = (score - mean) / std over the candidates that came with a score, cut at +-4

    scores: the first stage's own score of each candidate, higher is better, None where it sent
    none. Returns (n, 3). A candidate without a score, or among equal scores, has standard score 0.
    """
    position = np.arange(len(scores))
    return np.stack(
        [1 / (1 + position), 1 / np.log2(2 + position), _standard_scores(scores)],
        axis=1,
    ).astype(np.float32)


def of_candidates(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """The same for whole candidates; a text that comes again has the row of its first position.

    Equal texts then have equal logits, wherever they are computed. Returns (n, 3).
    """
    rows = np.array(first_positions(candidates), dtype=np.int64)
    return features([each.score for each in candidates])[rows]


def first_positions(candidates: Sequence[Candidate]) -> list[int]:
    """For each candidate the first position with the same text."""
    first: dict[str, int] = {}
    return [first.setdefault(each.text, position) for position, each in enumerate(candidates)]


def _standard_scores(scores: Sequence[float | None]) -> NDArray[np.float64]:
    raw = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    sent = ~np.isnan(raw)
    standard = np.zeros(len(raw))
    # Divided by the largest first, so that scores near the float limit have a finite variance.
    scaled = raw[sent] / max(1.0, np.abs(raw[sent]).max(initial=0.0))
    spread = scaled.std() if sent.any() else 0.0
    if spread > 0:
        standard[sent] = (scaled - scaled.mean()) / spread
    return standard.clip(-MAX_STANDARD_SCORE, MAX_STANDARD_SCORE)
