"""One opinion about one answer, or about two beside each other: looked up, or asked for and remembered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from judge.case import Subject
from judge.llm import Completion, Llm, LlmFailed, Usage
from judge.outage import Outage
from judge.prompt import messages
from judge.rubric import Rubric
from judge.state import State, reply_key
from judge.suspicion import signs
from judge.verdict import NoVerdict, Verdict, schema, verdict_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A verdict, and how it came about."""

    verdict: Verdict
    presentation: tuple[int, ...]
    """Places in the case's documents, in the order in which they were read."""
    provider: str
    """The API's host."""
    model: str
    params: Mapping[str, Any]
    usage: Usage
    cost: int
    """In picos; 0 where the reply was remembered."""
    remembered: bool


class Suspected(Exception):
    """A text speaks to whoever grades it; the message says which, or that the LLM says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A rubric in the hands of an LLM."""

    rubric: Rubric
    llm: Llm
    state: State
    suspects: bool = True
    outage: Outage = field(default_factory=Outage)
    """Of the LLM; judges of several rubrics share it."""

    async def judged(self, case: Subject, *, replicate: int = 0) -> Opinion:
        """An opinion that may count.  Raises `Suspected`, and as `opinion`."""
        self.look_at(case)
        opinion = await self.opinion(case, replicate=replicate)
        if opinion.verdict.injection:
            raise Suspected("says the LLM")
        return opinion

    def look_at(self, case: Subject) -> None:
        """Without the LLM.  Raises `Suspected`."""
        found = signs(case) if self.suspects else frozenset[str]()
        if found:
            raise Suspected(", ".join(sorted(found)))

    async def opinion(self, case: Subject, *, replicate: int = 0) -> Opinion:
        """The same case and replicate get the same opinion, which is paid for once.

        Raises `LlmFailed`, also where the reply holds no verdict, and `CapReached`.
        """
        presentation = case.presentation(replicate)
        wanted = schema(self.rubric, documents=len(case.documents))
        key = self._key(case, presentation, wanted, replicate)
        before = self.state.reply(key)
        completion = (
            await self._asked(case, presentation, wanted)
            if before is None
            else Completion.model_validate_json(before)
        )
        verdict = self._verdict(completion, case)
        if before is None:
            self.state.keep(key, completion.model_dump_json())
        return Opinion(
            verdict=verdict,
            presentation=presentation,
            provider=self.llm.provider,
            model=completion.model,
            params=self.llm.params,
            usage=completion.usage,
            cost=completion.cost if before is None else 0,
            remembered=before is not None,
        )

    async def _asked(
        self, case: Subject, presentation: tuple[int, ...], wanted: Mapping[str, Any]
    ) -> Completion:
        chat = messages(self.rubric, case, presentation=presentation)
        completion = await self.llm.ask(chat, wanted)
        self.outage.ended()
        return completion

    def _verdict(self, completion: Completion, case: Subject) -> Verdict:
        if completion.truncated:
            raise LlmFailed("truncated", "the reply was cut off")
        try:
            return verdict_of(completion.text, self.rubric, documents=len(case.documents))
        except NoVerdict as none:
            raise LlmFailed("no_verdict", str(none)) from none

    def _key(
        self,
        case: Subject,
        presentation: tuple[int, ...],
        wanted: Mapping[str, Any],
        replicate: int,
    ) -> bytes:
        """Of all that is asked, but for the chat's random word, and of who is asked how."""
        chat = messages(self.rubric, case, presentation=presentation, nonce="the same")
        return reply_key(self.llm.address, self.llm.model, self.llm.params, chat, wanted, replicate)
