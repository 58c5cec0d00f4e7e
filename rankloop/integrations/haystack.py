"""A ranker for Haystack that reports by itself what the LLM did with the documents.

    pipeline.add_component("ranker", RankloopRanker(url="http://127.0.0.1:8000", top_k=3))
    pipeline.connect("retriever.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "prompt_builder.documents")

That is all an app changes. A tracer, put around the one that the app has, tells which generator's call belongs to which
ranking.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

from haystack import Document, component, default_from_dict, default_to_dict, tracing
from haystack.dataclasses import ChatMessage
from haystack.tracing import Span, Tracer
from haystack.utils import Secret

from rankloop import client
from rankloop.client import Ranked, Ranking
from rankloop.client.clients import TIMEOUT_S, URL
from rankloop.integrations import reranker
from rankloop.integrations.reading import Cited
from rankloop.integrations.reranker import Reranker, ShownBy
from rankloop.integrations.runs import Runs


@component
class RankloopRanker:
    """Ranks documents by a Rankloop service and reports the answers that are made from them.

    top_k: how many documents come back; all without.
    line: a line of models other than the service's own.
    report: whether answers are reported; without, tell the service yourself by `rankloop.client`.
    cited: how an answer cites its documents, `rankloop.integrations.reading.cited` unless given; not serialized.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: Secret | None = None,
        top_k: int | None = None,
        line: str | None = None,
        timeout_s: float = TIMEOUT_S,
        report: bool = True,
        cited: Cited | None = None,
    ) -> None:
        self.url, self.api_key, self.top_k = url, api_key, top_k
        self.line, self.timeout_s, self.report = line, timeout_s, report
        self._reranker = Reranker(
            url,
            api_key=None if api_key is None else api_key.resolve_value(),
            line=line,
            timeout_s=timeout_s,
            cited=cited,
        )
        if report:
            _observe()

    def to_dict(self) -> dict[str, Any]:
        return default_to_dict(
            self,
            url=self.url,
            api_key=None if self.api_key is None else self.api_key.to_dict(),
            top_k=self.top_k,
            line=self.line,
            timeout_s=self.timeout_s,
            report=self.report,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RankloopRanker":
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Best first; those without text are left out.  Raises `rankloop.client.RankloopError`."""
        texts = [each for each in documents if each.content]
        if not texts:
            return {"documents": []}
        ranking = self._reranker.rank(
            query, [_sent(each) for each in texts], top_n=top_k or self.top_k
        )
        if self.report:
            # The app may have chosen a tracer since.
            _observe()
            _RUNS.shown(_CURRENT.get(), self._reranker.shown(ranking))
        ranked = [_ranked(texts[result.index], ranking, result) for result in ranking.results]
        return {"documents": ranked}

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Waits for the reports; says whether all were sent or given up on. The end of the process does it too."""
        return self._reranker.flush(timeout_s)


def decision_of(documents: Sequence[Document]) -> str | None:
    """The decision that these documents were ranked by: what `rankloop.client` wants for feedback."""
    return reranker.decision_of([document.meta for document in documents])


class _ObservedSpan(Span):
    """A span of the app's tracer, and the run that it stands for."""

    def __init__(self, span: Span) -> None:
        self.run = object()
        self.span = span

    def set_tag(self, key: str, value: Any) -> None:  # noqa: ANN401 - Haystack's
        self.span.set_tag(key, value)

    def set_content_tag(self, key: str, value: Any) -> None:  # noqa: ANN401 - Haystack's
        self.span.set_content_tag(key, value)
        if isinstance(value, dict):
            self._note(key, value)

    def raw_span(self) -> Any:  # noqa: ANN401 - Haystack's
        return self.span.raw_span()

    def get_correlation_data_for_logs(self) -> dict[str, Any]:
        return self.span.get_correlation_data_for_logs()

    def _note(self, key: str, value: dict[str, Any]) -> None:
        """What goes into a generator is a prompt or messages, what comes out are replies, whoever runs it."""
        if key.endswith(".input") and (prompt := _prompt(value)):
            _RUNS.asked(self.run, prompt, model=None)
        elif key.endswith(".output") and value.get("replies"):
            text, model = _answer(value)
            _RUNS.answered(self.run, text, model=model)


class _Observer(Tracer):
    """Tells `Runs` of everything that the app's own tracer is told."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def trace(
        self,
        operation_name: str,
        tags: dict[str, Any] | None = None,
        parent_span: Span | None = None,
    ) -> Iterator[Span]:
        parent, theirs = _CURRENT.get(), parent_span
        if isinstance(parent_span, _ObservedSpan):
            parent, theirs = parent_span.run, parent_span.span
        with self._tracer.trace(operation_name, tags=tags, parent_span=theirs) as span:
            seen = _ObservedSpan(span)
            _RUNS.started(seen.run, parent)
            token = _CURRENT.set(seen.run)
            try:
                yield seen
            finally:
                _CURRENT.reset(token)
                # Whatever was asked and is not answered by now never will be.
                _RUNS.failed(seen.run)
                _RUNS.ended(seen.run)

    def current_span(self) -> Span | None:
        return self._tracer.current_span()


_RUNS: Final[Runs[ShownBy]] = Runs(reranker.report_all)
_CURRENT: Final[ContextVar[object | None]] = ContextVar("rankloop_run", default=None)


def _observe() -> None:
    """Puts the observer around the tracer that is there, once."""
    tracer = tracing.tracer.actual_tracer
    if not isinstance(tracer, _Observer):
        tracing.enable_tracing(_Observer(tracer))


def _prompt(inputs: dict[str, Any]) -> str | None:
    """The prompt of a generator; None for what is none."""
    if isinstance(inputs.get("prompt"), str):
        return str(inputs["prompt"])
    messages = inputs.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, ChatMessage) for m in messages):
        return None
    return "\n".join(_text(message) for message in messages)


def _text(message: ChatMessage) -> str:
    """What a message says, the results of tools included."""
    results = [each.result for each in message.tool_call_results]
    return "\n".join([*message.texts, *(each for each in results if isinstance(each, str))])


def _answer(outputs: dict[str, Any]) -> tuple[str, str | None]:
    """Text and model of the first reply; no text where the model only asks for tools."""
    reply = outputs["replies"][0]
    if not isinstance(reply, ChatMessage):
        metas = outputs.get("meta") or [{}]
        return str(reply), metas[0].get("model")
    return "" if reply.tool_calls else reply.text or "", reply.meta.get("model")


def _sent(document: Document) -> client.Document:
    return client.Document(
        text=document.content or "",
        id=reranker.id_of(document.id),
        score=reranker.score_of(document.score),
    )


def _ranked(document: Document, ranking: Ranking, result: Ranked) -> Document:
    meta = reranker.marked(document.meta, ranking, result.index)
    return replace(document, meta=meta, score=result.relevance_score)
