"""What the integrations have in common: rank, and report what became of it. Knows no framework."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rankloop.client import Document, Ranking
from rankloop.integrations import reading
from rankloop.integrations.links import link
from rankloop.integrations.reading import Cited, Reading, Report, Shown

logger = logging.getLogger(__name__)

DECISION: Final = "rankloop_decision"
INDEX: Final = "rankloop_index"
"""The document's position in the request."""

MAX_ID: Final = 200
REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownBy:
    """A ranking, and who reports what becomes of it."""

    shown: Shown
    reranker: "Reranker"


class Reranker:
    """Ranks, and reports what became of it. One for each request will do: those of one service share connections."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        line: str | None,
        timeout_s: float,
        cited: Cited | None,
    ) -> None:
        self._link = link(url, api_key=api_key, timeout_s=timeout_s)
        self._line, self._cited = line, cited or reading.cited
        # In the order in which they were reported. Only the outbox's thread looks at it.
        self._reported: dict[str, None] = {}

    def rank(self, query: str, documents: Sequence[Document], *, top_n: int | None) -> Ranking:
        """Raises `rankloop.client.RankloopError`."""
        return self._link.ranking.rerank(query, documents, top_n=top_n, model=self._line)

    def shown(self, ranking: Ranking) -> ShownBy:
        shown = Shown(
            decision_id=ranking.id,
            positions=tuple(result.index for result in ranking.results),
            texts=tuple(ranking.texts),
        )
        return ShownBy(shown=shown, reranker=self)

    def report(self, shown: Sequence[Shown], readings: Sequence[Reading]) -> None:
        """Later, and not in the app's thread; looking for documents in prompts included."""
        self._link.outbox.put(partial(self._report, shown, readings))

    def flush(self, timeout_s: float) -> bool:
        """Whether every report to this service was sent, or given up on, in time."""
        return self._link.outbox.flush(timeout_s)

    def _report(self, shown: Sequence[Shown], readings: Sequence[Reading]) -> None:
        found = reading.reports(shown, readings, cited=self._cited)
        for decision_id in {each.decision_id for each in shown} - {r.decision_id for r in found}:
            logger.info("report.nothing decision=%s: no prompt holds its documents", decision_id)
        for report in found:
            # A decision has one answer. What is asked later about the same documents is another matter.
            if report.decision_id not in self._reported:
                self._remember(report.decision_id)
                self._send(report)

    def _remember(self, decision_id: str) -> None:
        self._reported[decision_id] = None
        if len(self._reported) > REMEMBERED:
            del self._reported[next(iter(self._reported))]

    def _send(self, report: Report) -> None:
        said = report.reading
        self._link.reporting.answer(
            report.decision_id,
            text=said.answer,
            used=report.used,
            citations=report.citations,
            model=said.model,
            latency_ms=said.latency_ms,
            occurred_at=said.at,
        )


def report_all(shown: Sequence[ShownBy], readings: Sequence[Reading]) -> None:
    """Each reranker reports its own rankings of a run."""
    for reranker in dict.fromkeys(each.reranker for each in shown):
        reranker.report([each.shown for each in shown if each.reranker is reranker], readings)


def score_of(value: object) -> float | None:
    """A first stage's score, if this is one: frameworks let anything stand there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def id_of(value: object) -> str | None:
    """An app's own id of a document, if the service takes it."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def marked(metadata: Mapping[str, Any], ranking: Ranking, index: int) -> dict[str, Any]:
    """A document's metadata with the decision that it was ranked by."""
    return {**metadata, DECISION: ranking.id, INDEX: index}


def decision_of(metadata: Sequence[Mapping[str, Any]]) -> str | None:
    """The first decision that is named."""
    return next((each[DECISION] for each in metadata if DECISION in each), None)
