"""A node postprocessor for LlamaIndex that reports by itself what the LLM did with the nodes.

    engine = index.as_query_engine(
        node_postprocessors=[RankloopRerank(url="http://127.0.0.1:8000", top_n=3)]
    )

That is all an app changes. LlamaIndex's instrumentation tells which LLM call belongs to which ranking, in query and
chat engines, workflows and agents, streamed or not.
"""

import asyncio
import functools
import inspect
from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span import BaseSpan, active_span_id
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, PrivateAttr

from rankloop import client
from rankloop.client import Ranked, Ranking
from rankloop.client.clients import TIMEOUT_S, URL
from rankloop.integrations import reranker
from rankloop.integrations.reading import Cited
from rankloop.integrations.reranker import DECISION, INDEX, Reranker, ShownBy
from rankloop.integrations.runs import Runs


class RankloopRerank(BaseNodePostprocessor):
    """Reranks nodes by a Rankloop service and reports the answers that are made from them."""

    url: str = URL
    api_key: str | None = Field(default=None, repr=False, exclude=True)
    top_n: int | None = None
    """How many nodes come back; all without."""
    line: str | None = None
    """A line of models other than the service's own."""
    timeout_s: float = TIMEOUT_S
    report: bool = True
    """Whether answers are reported; without, tell the service yourself by `rankloop.client`."""
    cited: Cited | None = Field(default=None, exclude=True)
    """How an answer cites its documents: `rankloop.integrations.reading.cited` unless given."""

    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        self._reranker = Reranker(
            self.url,
            api_key=self.api_key,
            line=self.line,
            timeout_s=self.timeout_s,
            cited=self.cited,
        )
        if self.report:
            _observe()

    @classmethod
    def class_name(cls) -> str:
        return "RankloopRerank"

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Waits for the reports; says whether all were sent or given up on. The end of the process does it too."""
        return self._reranker.flush(timeout_s)

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """In a thread: a postprocessor outlives the event loop that an async client is bound to."""
        ranked, shown = await asyncio.to_thread(self._ranked, nodes, query_bundle)
        self._remember(shown)
        return ranked

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Best first.  Raises `rankloop.client.RankloopError`."""
        ranked, shown = self._ranked(nodes, query_bundle)
        self._remember(shown)
        return ranked

    def _ranked(
        self, nodes: Sequence[NodeWithScore], query: QueryBundle | None
    ) -> tuple[list[NodeWithScore], ShownBy | None]:
        if query is None:
            raise ValueError("a query is needed to rank for")
        if not nodes:
            return [], None
        sent = [_sent(each) for each in nodes]
        ranking = self._reranker.rank(query.query_str, sent, top_n=self.top_n)
        ranked = [_ranked(nodes[result.index], ranking, result) for result in ranking.results]
        return ranked, self._reranker.shown(ranking)

    def _remember(self, shown: ShownBy | None) -> None:
        if self.report and shown is not None:
            _RUNS.shown(active_span_id.get(), shown)


def decision_of(nodes: Sequence[NodeWithScore]) -> str | None:
    """The decision that these nodes (a response's `source_nodes`) were ranked by: for feedback by `rankloop.client`."""
    return reranker.decision_of([node.node.metadata for node in nodes])


class _Spans(BaseSpanHandler[BaseSpan]):
    """Tells `Runs` of every span."""

    def new_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: object = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        del bound_args, instance, tags
        _RUNS.started(id_, parent_span_id)

    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: object = None,
        result: object = None,
        **_: object,
    ) -> None:
        del bound_args, instance, result
        # A call that was opened here may still be answered: its stream is read later.
        _RUNS.ended(id_)

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: object = None,
        err: BaseException | None = None,
        **_: object,
    ) -> None:
        del bound_args, instance, err
        _RUNS.failed(id_)
        _RUNS.ended(id_)


class _Events(BaseEventHandler):
    """Tells `Runs` of every call of an LLM; each has a span of its own."""

    def handle(self, event: BaseEvent, **_: object) -> None:
        match event:
            case LLMChatStartEvent():
                _RUNS.asked(event.span_id, _prompt(event.messages), model=_model(event.model_dict))
            case LLMCompletionStartEvent():
                _RUNS.asked(event.span_id, event.prompt, model=_model(event.model_dict))
            case LLMChatEndEvent() | LLMCompletionEndEvent():
                _RUNS.answered(event.span_id, _text(event.response))
            case ExceptionEvent():
                _RUNS.failed(event.span_id)


_RUNS: Final[Runs[ShownBy]] = Runs(reranker.report_all)


@functools.cache
def _observe() -> None:
    """From now on LlamaIndex tells us of every span and LLM call of this process."""
    root = get_dispatcher()
    root.add_span_handler(_Spans())
    root.add_event_handler(_Events())


def _prompt(messages: Sequence[ChatMessage]) -> str:
    return "\n".join(message.content or "" for message in messages)


def _model(settings: dict[str, Any]) -> str | None:
    model = settings.get("model") or settings.get("model_name")
    return model if isinstance(model, str) else None


def _text(response: ChatResponse | CompletionResponse | None) -> str:
    """No text where the model only asks for tools."""
    if response is None:
        return ""
    if isinstance(response, CompletionResponse):
        return response.text
    message = response.message
    return "" if message.additional_kwargs.get("tool_calls") else message.content or ""


def _sent(node: NodeWithScore) -> client.Document:
    return client.Document(
        text=node.node.get_content(metadata_mode=MetadataMode.NONE),
        id=reranker.id_of(node.node.node_id),
        score=reranker.score_of(node.score),
    )


def _ranked(node: NodeWithScore, ranking: Ranking, result: Ranked) -> NodeWithScore:
    """A copy: an index hands the same node to every request. The marks are for us, not for a prompt or an embedding."""
    marks = [DECISION, INDEX]
    hidden = {
        name: [*getattr(node.node, name), *marks]
        for name in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys")
    }
    metadata = reranker.marked(node.node.metadata, ranking, result.index)
    copied = node.node.model_copy(update={"metadata": metadata, **hidden})
    return NodeWithScore(node=copied, score=result.relevance_score)
