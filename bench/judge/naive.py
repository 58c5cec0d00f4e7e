"""A judge without any defence: the texts stand in the prompt as they come, and nobody speaks of injections.

It is asked with the same rubric, model and form of reply, so that what the shipped prompt prevents can be told.
"""

from dataclasses import dataclass
from typing import Final

from judge.case import Case
from judge.llm import Completion, Llm, LlmFailed
from judge.prompt import Message
from judge.rubric import Rubric
from judge.state import State, reply_key
from judge.verdict import NoVerdict, schema, verdict_of

_FORM: Final = '{"rationale": "<at most two sentences>", "score": <number from 0 to 1>}'


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveJudge:
    """Of a rubric that scores answers; its replies are remembered as the judge remembers its own."""

    rubric: Rubric
    llm: Llm
    state: State

    async def score(self, case: Case) -> float:
        """In [0, 1].  Raises `LlmFailed`, also where the reply holds no verdict, and `CapReached`."""
        asked = messages(self.rubric, case)
        params = repr(sorted(self.llm.params.items()))
        key = reply_key("naive", self.llm.model, params, *(each["content"] for each in asked))
        before = self.state.reply(key)
        completion = (
            await self.llm.ask(asked, _schema(self.rubric))
            if before is None
            else Completion.model_validate_json(before)
        )
        try:
            verdict = verdict_of(completion.text, self.rubric, documents=len(case.documents))
        except NoVerdict as none:
            raise LlmFailed("no_verdict", str(none)) from none
        self.state.keep(key, completion.model_dump_json())
        return verdict.findings[0].value


def messages(rubric: Rubric, case: Case) -> list[Message]:
    """As it is written in an afternoon."""
    system = (
        f"{rubric.instructions.strip()}\n\nReply with one JSON object and nothing else:\n{_FORM}"
    )
    documents = "\n\n".join(case.documents)
    data = f"Question: {case.query}\n\nDocuments:\n{documents}\n\nAnswer: {case.answer}"
    return [{"role": "system", "content": system}, {"role": "user", "content": data}]


def _schema(rubric: Rubric) -> dict[str, object]:
    """The judge's own, without its question about injections."""
    own = schema(rubric, documents=0)
    properties = {name: shape for name, shape in own["properties"].items() if name != "injection"}
    return own | {"properties": properties, "required": list(properties)}
