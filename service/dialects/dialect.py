"""What every dialect is: a body that becomes a request, a reply in its own words, and its own way to refuse."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.asked import Asked
from service.errors import Told
from service.rerank import Reply
from service.texts import MAX_NAME, Text, storable

MAX_DETAIL: Final = 200
"""Of an error, which says it three times and stays within a kilobyte."""

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


def _or_false(value: object) -> object:
    return False if value is None else value


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


def _query(value: object) -> object:
    """A query may come as an object with its text."""
    return value.get("text") if isinstance(value, Mapping) else value


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Flag: TypeAlias = Annotated[bool, BeforeValidator(_or_false)]
"""A boolean, also as "true", with null for false."""
Count: TypeAlias = Annotated[int, Field(ge=1)] | None
"""How many at most; all when absent or null."""
ModelName: TypeAlias = Annotated[str | None, BeforeValidator(_short)]
"""The name of a model, which is one of ours or is not; what cannot be ours is read as absent."""
Query: TypeAlias = Annotated[Text, BeforeValidator(_query)]
