"""The app's own LLM and prompt: answers a question again, from documents in an order of ours."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from judge.llm import Completion, Llm, LlmFailed, Usage
from judge.outage import Outage
from judge.prompt import Message
from judge.state import State, reply_key
from judge.template import Template
from judge.verdict import THOUGHT


class ReaderFailed(Exception):
    """The reader gave no usable answer."""

    def __init__(self, failure: LlmFailed, *, is_away: bool) -> None:
        super().__init__(f"the reader: {failure}")
        self.kind = failure.kind
        """One of a few words, for metrics."""
        self.is_away = is_away
        """Whether the reader is, and it is not for what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer of the reader, and what it took."""

    text: str
    usage: Usage
    cost: int
    """In picos; 0 where the answer was remembered."""
    remembered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A prompt in the hands of an LLM."""

    template: Template
    llm: Llm
    state: State
    outage: Outage = field(default_factory=Outage)
    _asking: WeakValueDictionary[bytes, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, repr=False
    )

    @property
    def is_paused(self) -> bool:
        """Whether it is too early to ask it anything."""
        return self.outage.is_on or not self.llm.can_pay()

    async def answer(self, query: str, documents: Sequence[str]) -> Written:
        """The same prompt gets the same answer, or the same failure where that is none, which is paid for once.

        documents: in the order of the prompt.  Raises `CapReached` and `ReaderFailed`, also where an answer is cut off.
        """
        prompt = self.template.filled(question=query, documents=documents)
        chat = [{"role": "user", "content": prompt}]
        key = reply_key("reader", self.llm.address, self.llm.model, self.llm.params, chat)
        # Several candidates are compared with one champion at the same time.
        async with self._asking.setdefault(key, asyncio.Lock()):
            before = self.state.reply(key)
            completion = (
                await self._asked(chat, key)
                if before is None
                else Completion.model_validate_json(before)
            )
        try:
            return _written(completion, remembered=before is not None)
        except LlmFailed as failure:
            raise ReaderFailed(failure, is_away=False) from failure

    async def _asked(self, chat: Sequence[Message], key: bytes) -> Completion:
        """Kept, also where it will be refused: the next attempt would be told the same."""
        try:
            completion = await self.llm.ask(chat)
        except LlmFailed as failure:
            raise ReaderFailed(failure, is_away=self.outage.saw(failure)) from failure
        self.outage.ended()
        self.state.keep(key, completion.model_dump_json())
        return completion

    def described(self) -> Mapping[str, Any]:
        """Who answered, and how: what an answer depends on."""
        return {
            "provider": self.llm.provider,
            "model": self.llm.model,
            "params": dict(self.llm.params),
            "prompt_sha256": self.template.sha256,
        }


def _written(completion: Completion, *, remembered: bool) -> Written:
    """Without what the model thought aloud.  Raises `LlmFailed` where it never came to an answer, or to its end."""
    if completion.truncated:
        raise LlmFailed("truncated", "the answer was cut off")
    text = completion.text.rpartition(THOUGHT)[2].strip()
    if not text:
        raise LlmFailed("malformed", "an empty answer")
    return Written(
        text=text,
        usage=completion.usage,
        cost=0 if remembered else completion.cost,
        remembered=remembered,
    )
