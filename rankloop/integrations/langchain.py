"""A document compressor for LangChain that reports by itself what the LLM did with the documents.

    retriever = ContextualCompressionRetriever(
        base_compressor=RankloopRerank(url="http://127.0.0.1:8000", top_n=3), base_retriever=retriever
    )

That is all an app changes. A callback handler that LangChain adds to every run tells which LLM call belongs to which
ranking, in chains, graphs and agents, streamed or not.
"""

import functools
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import ensure_config, run_in_executor
from langchain_core.tracers.context import register_configure_hook
from pydantic import Field, PrivateAttr

from rankloop import client
from rankloop.client import Ranked, Ranking
from rankloop.client.clients import TIMEOUT_S, URL
from rankloop.integrations import reranker
from rankloop.integrations.reading import Cited
from rankloop.integrations.reranker import Reranker, ShownBy
from rankloop.integrations.runs import Runs


class RankloopRerank(BaseDocumentCompressor):
    """Reranks documents by a Rankloop service and reports the answers that are made from them."""

    url: str = URL
    api_key: str | None = Field(default=None, repr=False)
    top_n: int | None = None
    """How many documents come back; all without."""
    line: str | None = None
    """A line of models other than the service's own."""
    timeout_s: float = TIMEOUT_S
    report: bool = True
    """Whether answers are reported; without, tell the service yourself by `rankloop.client`."""
    cited: Cited | None = None
    """How an answer cites its documents: `rankloop.integrations.reading.cited` unless given."""

    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        self._reranker = Reranker(
            self.url,
            api_key=self.api_key,
            line=self.line,
            timeout_s=self.timeout_s,
            cited=self.cited,
        )
        if self.report:
            _observe()

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Best first.  Raises `rankloop.client.RankloopError`."""
        ranked, shown = self._ranked(documents, query)
        self._remember(shown, callbacks)
        return ranked

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """In a thread: a compressor outlives the event loop that an async client is bound to."""
        ranked, shown = await run_in_executor(None, self._ranked, documents, query)
        self._remember(shown, callbacks)
        return ranked

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Waits for the reports; says whether all were sent or given up on. The end of the process does it too."""
        return self._reranker.flush(timeout_s)

    def _ranked(
        self, documents: Sequence[Document], query: str
    ) -> tuple[list[Document], ShownBy | None]:
        if not documents:
            return [], None
        ranking = self._reranker.rank(query, [_sent(each) for each in documents], top_n=self.top_n)
        ranked = [_ranked(documents[result.index], ranking, result) for result in ranking.results]
        return ranked, self._reranker.shown(ranking)

    def _remember(self, shown: ShownBy | None, callbacks: Callbacks | None) -> None:
        if self.report and shown is not None:
            _RUNS.shown(_current_run(callbacks), shown)


def decision_of(documents: Sequence[Document]) -> str | None:
    """The decision that these documents were ranked by: what `rankloop.client` wants for feedback."""
    return reranker.decision_of([document.metadata for document in documents])


class _Observer(BaseCallbackHandler):
    """Tells `Runs` of everything that LangChain runs."""

    run_inline = True
    """Nothing here waits."""

    def on_chain_start(
        self, *_: object, run_id: UUID, parent_run_id: UUID | None = None, **__: object
    ) -> None:
        _RUNS.started(run_id, parent_run_id)

    on_tool_start = on_chain_start
    on_retriever_start = on_chain_start

    def on_chain_end(self, *_: object, run_id: UUID, **__: object) -> None:
        _RUNS.ended(run_id)

    on_chain_error = on_chain_end
    on_tool_end = on_chain_end
    on_tool_error = on_chain_end
    on_retriever_end = on_chain_end
    on_retriever_error = on_chain_end

    def on_chat_model_start(
        self,
        serialized: object,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        del serialized
        prompt = "\n".join(message.text for message in messages[0])
        self._asked(prompt, run_id, parent_run_id, metadata)

    def on_llm_start(
        self,
        serialized: object,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        del serialized
        self._asked(prompts[0], run_id, parent_run_id, metadata)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: object) -> None:
        text, model = _answer(response)
        _RUNS.answered(run_id, text, model=model)
        _RUNS.ended(run_id)

    def on_llm_error(self, *_: object, run_id: UUID, **__: object) -> None:
        _RUNS.failed(run_id)
        _RUNS.ended(run_id)

    def _asked(
        self, prompt: str, run_id: UUID, parent: UUID | None, metadata: dict[str, Any] | None
    ) -> None:
        _RUNS.started(run_id, parent)
        _RUNS.asked(run_id, prompt, model=(metadata or {}).get("ls_model_name"))


_RUNS: Final[Runs[ShownBy]] = Runs(reranker.report_all)
_OBSERVER: Final[ContextVar[_Observer | None]] = ContextVar(
    "rankloop_observer",
    default=_Observer(),  # noqa: B039 - it holds nothing
)


@functools.cache
def _observe() -> None:
    """From now on LangChain adds the observer to every run of this process."""
    register_configure_hook(_OBSERVER, inheritable=True)


def _current_run(callbacks: Callbacks | None) -> UUID | None:
    """The run that a compressor works in: a retriever hands it over, in a chain the context knows it."""
    for manager in (callbacks, ensure_config().get("callbacks")):
        run: UUID | None = getattr(manager, "parent_run_id", None)
        if run is not None:
            return run
    return None


def _answer(response: LLMResult) -> tuple[str, str | None]:
    """Text and model of an answer; no text where the model only asks for tools, or says nothing at all."""
    generation = next((each for answers in response.generations for each in answers), None)
    if generation is None:
        return "", None
    message = generation.message if isinstance(generation, ChatGeneration) else None
    if isinstance(message, AIMessage) and message.tool_calls:
        return "", None
    model = None if message is None else message.response_metadata.get("model_name")
    return generation.text, model or (response.llm_output or {}).get("model_name")


def _sent(document: Document) -> client.Document:
    return client.Document(
        text=document.page_content,
        id=reranker.id_of(document.id),
        score=reranker.score_of(document.metadata.get("score")),
    )


def _ranked(document: Document, ranking: Ranking, result: Ranked) -> Document:
    metadata = reranker.marked(document.metadata, ranking, result.index)
    return Document(
        page_content=document.page_content,
        id=document.id,
        metadata={**metadata, "relevance_score": result.relevance_score},
    )
