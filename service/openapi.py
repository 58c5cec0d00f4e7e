"""The OpenAPI document: what FastAPI finds by itself, and what only we know of our refusals, limits and keys."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.dialects.documents import MAX_DOCUMENTS
from service.errors import PROBLEM
from service.schemas.problems import Problem, RerankProblem, TeiError
from service.settings import ServiceSettings

Node: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[int | str, Node]

_SCHEMAS: Final = "#/components/schemas/"
_SAID: Final[Mapping[int, str]] = {
    400: "The body cannot be read at all",
    401: "There is no key, or none that works",
    403: "The key works, and not for this",
    404: "There is no such thing",
    409: "It contradicts what is there already, or comes too early",
    410: "The id is one of ours, and its decision is no longer stored",
    413: "The body is larger than it may be",
    415: "It is encoded in a way that is not understood here",
    422: "It has been understood, and cannot be done",
    429: "More work waits than can be done soon",
    503: "There is no model yet, or the database is away, or this would keep it too busy",
}
_RETRY_AFTER: Final[Node] = {
    "Retry-After": {
        "description": "Seconds before it makes sense to try again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_FASTAPIS_OWN: Final = "HTTPValidationError"
_LEFT_OVER: Final = (_FASTAPIS_OWN, "ValidationError", "JsonValue")
"""Schemas that nothing refers to."""
_COME_BACK: Final = frozenset({409, 429, 503})


def refusals(*statuses: int) -> Responses:
    """What a route is declared with: the problems that it may answer with."""
    return _refusals(statuses, {PROBLEM: Problem})


def rerank_refusals(*statuses: int) -> Responses:
    """The same of a route that answers as the client's own reranker would."""
    return _refusals(statuses, {PROBLEM: RerankProblem, "application/json": TeiError})


def _refusals(statuses: tuple[int, ...], shapes: Mapping[str, type[BaseModel]]) -> Responses:
    content = {
        media_type: {"schema": {"$ref": f"{_SCHEMAS}{shape.__name__}"}}
        for media_type, shape in shapes.items()
    }
    return {
        status: {
            "description": _SAID[status],
            "content": content,
            "headers": _RETRY_AFTER if status in _COME_BACK else {},
        }
        for status in statuses
    }


class Documented(FastAPI):
    """An app whose document tells of this very service: its limits, and whether it asks for keys."""

    def openapi(self) -> Node:
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi(), self.state.settings)
        return self.openapi_schema


def _completed(document: Node, settings: ServiceSettings) -> Node:
    schemas: Node = document["components"]["schemas"]
    schemas |= _problems()
    for name in _LEFT_OVER:
        schemas.pop(name, None)
    for node in _nodes(document):
        # The dialects exclude each other, and a generator need not know that.
        if "oneOf" in node:
            node["anyOf"] = node.pop("oneOf")
        # An id in a path is one already, or the path is another: FastAPI does not know.
        if _FASTAPIS_OWN in str(node.get("422")):
            del node["422"]
        if node.get("maxItems") == MAX_DOCUMENTS:
            node["maxItems"] = settings.service_max_documents
        if "security" in node and not settings.keys_required:
            node["security"].append({})
    return document


def _problems() -> Node:
    _, made = models_json_schema(
        [(shape, "serialization") for shape in (Problem, RerankProblem, TeiError)],
        ref_template=_SCHEMAS + "{model}",
    )
    definitions: Node = made["$defs"]
    return definitions


def _nodes(value: object) -> Iterator[Node]:
    """Every object of the document."""
    if isinstance(value, dict):
        yield value
        for part in list(value.values()):
            yield from _nodes(part)
    if isinstance(value, list):
        for part in value:
            yield from _nodes(part)
