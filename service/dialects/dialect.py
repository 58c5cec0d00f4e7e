"""What every dialect is: a body that becomes a request, a reply in its own words, and its own way to refuse."""

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from service.asked import Asked
from service.errors import Told
from service.rerank import Reply
from service.texts import MAX_NAME, storable

MAX_DETAIL: Final = 200
"""Of an error, which says it three times and stays within a kilobyte."""
_BLANK: Final = r"\s\x00\x1c-\x1f\x85\uFEFF"
"""What a query may not consist of alone; spelt out, because regular expressions disagree about white space."""
_SEEN: Final = re.compile(f"[^{_BLANK}]")
_SAYS_SOMETHING: Final = rf"^[^\x00]*[^{_BLANK}][^\x00]*$"
_DIGITS: Final = "^[1-9][0-9]{0,8}$"

SIDES: Final = (
    ("text_1", "text_2"),
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
)
"""What queries and texts are called by clients that score pairs."""

Rerank: TypeAlias = Callable[[Asked], Awaitable[Reply]]


class Out(BaseModel):
    """A body that goes back."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Dialect(BaseModel, ABC):
    """A request body, read leniently."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: ClassVar[str]

    @abstractmethod
    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        """What is asked, in our own terms.  Raises a `Refusal`."""

    @abstractmethod
    def to_body(self, reply: Reply) -> BaseModel:
        """What is answered, in the client's terms."""

    async def answered(
        self, rerank: Rerank, *, tenant: str, request_key: str | None
    ) -> tuple[Reply, BaseModel]:
        """The reply, and its body.  Raises a `Refusal`."""
        reply = await rerank(self.to_asked(tenant=tenant, request_key=request_key))
        return reply, self.to_body(reply)

    @classmethod
    def refused(cls, told: Told) -> tuple[int, dict[str, Any]]:
        """Status and body of an error: a problem that clients of every object dialect can read."""
        problem = told.problem(limit=MAX_DETAIL)
        error = {
            "message": problem["detail"],
            "type": told.name or "error",
            "param": None,
            "code": told.status,
        }
        return told.status, problem | {"message": problem["detail"], "error": error}


def told_by(*keys: str | tuple[str, str], never: Sequence[str | tuple[str, str]]) -> dict[str, Any]:
    """JSON Schema for what `recognise` does: one of these keys or pairs of keys, and none that tell of others."""
    own = {"anyOf": _required(keys)} if keys else {}
    return own | {"not": {"anyOf": _required(never)}}


def _required(keys: Sequence[str | tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"required": [key] if isinstance(key, str) else list(key)} for key in keys]


_Word: TypeAlias = Literal["true", "True", "1", "false", "False", "0"]


def _flag(value: object) -> object:
    if isinstance(value, str) and value not in get_args(_Word):
        raise ValueError("must be true or false")
    return value


def _flag_or_false(value: object) -> object:
    return False if value is None else _flag(value)


def _count(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and not re.match(_DIGITS, value)):
        raise ValueError("must be a whole number")
    return value


def _short(value: object) -> object:
    return (
        value if isinstance(value, str) and len(value) <= MAX_NAME and _is_storable(value) else None
    )


def _is_storable(text: str) -> bool:
    try:
        storable(text)
    except ValueError:
        return False
    return True


Question: TypeAlias = Annotated[str, Field(json_schema_extra={"pattern": _SAYS_SOMETHING})]


class QueryObject(TypedDict):
    """A query as an object."""

    text: Annotated[Question, Field(description="The query.")]


def _query(value: object) -> object:
    """A query may come as an object with its text."""
    return value.get("text") if isinstance(value, Mapping) else value


def not_blank(text: str) -> str:
    if not _SEEN.search(text):
        raise ValueError("is empty")
    return text


Flag: TypeAlias = Annotated[
    bool,
    BeforeValidator(_flag_or_false, json_schema_input_type=bool | Literal[0, 1] | _Word | None),
]
"""A boolean, also as "true", with null for false."""
Switch: TypeAlias = Annotated[
    bool | None, BeforeValidator(_flag, json_schema_input_type=bool | Literal[0, 1] | _Word | None)
]
"""The same, with null for what its field has as default."""
Count: TypeAlias = (
    Annotated[
        int,
        Field(ge=1),
        BeforeValidator(
            _count,
            json_schema_input_type=Annotated[int, Field(ge=1)]
            | Annotated[str, Field(pattern=_DIGITS)],
        ),
    ]
    | None
)
"""How many at most; all when absent or null."""
ModelName: TypeAlias = Annotated[str | None, BeforeValidator(_short, json_schema_input_type=Any)]
"""The name of a model, which is one of ours or is not; what cannot be ours is read as absent."""
Query: TypeAlias = Annotated[
    str,
    BeforeValidator(_query, json_schema_input_type=Question | QueryObject),
    AfterValidator(storable),
    AfterValidator(not_blank),
]
