"""One opinion about one answer: looked up, or asked for and remembered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from judge.case import Case
from judge.llm import Completion, Llm, LlmFailed, Usage
from judge.prompt import messages
from judge.rubric import Rubric
from judge.state import State, reply_key
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A rubric in the hands of an LLM."""

    rubric: Rubric
    llm: Llm
    state: State

    async def opinion(self, case: Case, *, replicate: int = 0) -> Opinion:
        """The same case and replicate get the same opinion, which is paid for once.

        Raises `LlmFailed`, also where the reply holds no verdict, and `CapReached`.
        """
        presentation = case.presentation(replicate)
        chat = messages(self.rubric, case, presentation=presentation)
        key = self._key(chat[0]["content"], case, presentation, replicate)
        before = self.state.reply(key)
        completion = (
            await self.llm.ask(chat, schema(self.rubric, documents=len(case.documents)))
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

    def _verdict(self, completion: Completion, case: Case) -> Verdict:
        try:
            return verdict_of(completion.text, self.rubric, documents=len(case.documents))
        except NoVerdict as none:
            kind = "truncated" if completion.truncated else "no_verdict"
            raise LlmFailed(kind, str(none)) from none

    def _key(self, told: str, case: Case, presentation: tuple[int, ...], replicate: int) -> bytes:
        """Of all that the chat holds but its random word, and of who is asked how."""
        return reply_key(
            *(self.llm.provider, self.llm.model, repr(sorted(self.llm.params.items()))),
            *(told, str(replicate)),
            *(case.query, case.answer, repr(case.reference)),
            [case.documents[place] for place in presentation],
        )
