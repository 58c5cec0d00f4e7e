"""From an LLM's reply to a verdict, whatever the model wrapped around its JSON."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, ValidationError

from judge.rubric import Kind, Rubric

MAX_RATIONALE: Final = 2000
THOUGHT: Final = "</think>"
"""Where a model that thinks aloud begins to answer."""


class NoVerdict(Exception):
    """The reply holds nothing that the rubric asked for; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One number of a verdict."""

    value: float
    """In [0, 1]."""
    document: int | None = None
    """Which document it speaks of, counted from 0 as they were presented; None: of the answer, of two of answer A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the LLM thinks of one answer."""

    findings: tuple[Finding, ...]
    """Of an answer's score or claims one, of documents one each; none where an answer claims nothing. Of two answers
    one: 1 where A is better, 0 where B is, .5 where neither."""
    rationale: str | None
    injection: bool
    """Whether the LLM says that something tried to instruct it."""


def verdict_of(reply: str, rubric: Rubric, *, documents: int) -> Verdict:
    """What the JSON objects say that fit; thoughts aside.  Raises `NoVerdict`, also where two of them differ.

    documents: how many were presented; each has to come back, once.
    """
    wrong = f"no JSON object in a reply of {len(reply)} characters"
    verdicts: list[Verdict] = []
    for found in _objects(reply.rpartition(THOUGHT)[2]):
        try:
            verdicts.append(_verdict(found, rubric, documents))
        except ValueError as error:
            wrong = _in_short(error)
    if not verdicts:
        raise NoVerdict(wrong)
    if len({frozenset(each.findings) for each in verdicts}) > 1:
        raise NoVerdict("two verdicts that differ")  # one of them may be a quotation
    return verdicts[-1]


def schema(rubric: Rubric, *, documents: int) -> dict[str, Any]:
    """What a reply has to look like, as JSON Schema. The reasons come before the number that they lead to."""
    return _object(
        rationale={"type": "string"},
        injection={"type": "boolean"},
        **_SHAPES[rubric.kind](documents),
    )


def example(rubric: Rubric, *, documents: int) -> str:
    """The same for the eyes of a model whose API knows no schemas."""
    worst, best = rubric.scale
    number = f"<number from {worst:g} to {best:g}>"
    opening = '{"rationale": "<at most two sentences>", "injection": <true or false>, '
    match rubric.kind:
        case Kind.ANSWER:
            return f'{opening}"score": {number}}}'
        case Kind.CLAIMS:
            return (
                f'{opening}"claims": [{{"claim": "<text>", "supported": <true or false>}}, ...]}}'
            )
        case Kind.DOCUMENTS:
            ids = ", ".join(
                f'{{"id": "{document_id(i)}", "score": {number}}}' for i in range(documents)
            )
            return f'{opening}"documents": [{ids}]}}'
        case Kind.PAIR:
            return f'{opening}"winner": <"A", "B" or "tie">}}'


def _verdict(found: Mapping[str, Any], rubric: Rubric, documents: int) -> Verdict:
    return Verdict(
        findings=_READERS[rubric.kind](found, rubric, documents),
        rationale=_rationale(found.get("rationale")),
        injection=found.get("injection") is True,
    )


def document_id(place: int) -> str:
    """How the LLM knows a document; place: counted from 0, as presented."""
    return f"D{place + 1}"


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a flag is no number")  # noqa: TRY004 -- pydantic collects ValueErrors
    return value


_Number = Annotated[float, BeforeValidator(_no_flag), Field(allow_inf_nan=False)]


class _Score(BaseModel):
    score: _Number


class _Claim(BaseModel):
    supported: StrictBool


class _Claims(BaseModel):
    claims: list[_Claim]


class _Document(_Score):
    id: str


class _Documents(BaseModel):
    documents: list[_Document]


class _Winner(BaseModel):
    winner: str


def _of_answer(found: Mapping[str, Any], rubric: Rubric, _documents: int) -> tuple[Finding, ...]:
    return (Finding(value=_scaled(_Score.model_validate(found).score, rubric)),)


def _of_claims(found: Mapping[str, Any], _rubric: Rubric, _documents: int) -> tuple[Finding, ...]:
    claims = _Claims.model_validate(found).claims
    if not claims:
        return ()
    return (Finding(value=sum(claim.supported for claim in claims) / len(claims)),)


def _of_documents(found: Mapping[str, Any], rubric: Rubric, documents: int) -> tuple[Finding, ...]:
    rows = _Documents.model_validate(found).documents
    asked = {document_id(place): place for place in range(documents)}
    if sorted(row.id for row in rows) != sorted(asked):
        raise ValueError("not every document came back once, under its own id")
    return tuple(Finding(value=_scaled(row.score, rubric), document=asked[row.id]) for row in rows)


def _of_pair(found: Mapping[str, Any], _rubric: Rubric, _documents: int) -> tuple[Finding, ...]:
    said = _Winner.model_validate(found).winner.strip().lower()
    if said not in _WINNERS:
        raise ValueError("a winner that is neither A nor B nor tie")
    return (Finding(value=_WINNERS[said]),)


_WINNERS: Final[Mapping[str, float]] = {"a": 1.0, "b": 0.0, "tie": 0.5}

_READERS: Final[Mapping[Kind, Callable[[Mapping[str, Any], Rubric, int], tuple[Finding, ...]]]] = {
    Kind.ANSWER: _of_answer,
    Kind.CLAIMS: _of_claims,
    Kind.DOCUMENTS: _of_documents,
    Kind.PAIR: _of_pair,
}


def _scaled(score: float, rubric: Rubric) -> float:
    worst, best = rubric.scale
    if not worst <= score <= best:
        raise ValueError(f"a score that is not between {worst:g} and {best:g}")
    return (score - worst) / (best - worst)


def _object(**properties: object) -> dict[str, Any]:
    """As strict endpoints want it: everything required, nothing else allowed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(**properties: object) -> dict[str, Any]:
    return {"type": "array", "items": _object(**properties)}


_SHAPES: Final[Mapping[Kind, Callable[[int], dict[str, Any]]]] = {
    Kind.ANSWER: lambda _: {"score": {"type": "number"}},
    Kind.CLAIMS: lambda _: {
        "claims": _list_of(claim={"type": "string"}, supported={"type": "boolean"})
    },
    Kind.DOCUMENTS: lambda documents: {
        "documents": _list_of(
            id={"type": "string", "enum": [document_id(place) for place in range(documents)]},
            score={"type": "number"},
        )
    },
    Kind.PAIR: lambda _: {"winner": {"type": "string", "enum": ["A", "B", "tie"]}},
}


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in a text."""
    decoder = json.JSONDecoder()
    start = reply.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield found
        start = reply.find("{", end)


def _in_short(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _rationale(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Postgres text holds neither NUL nor half a surrogate pair.
    clean = value.replace("\0", "").encode(errors="ignore").decode()
    return clean[:MAX_RATIONALE] or None
