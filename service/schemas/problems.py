"""What a refusal looks like, in each of its shapes."""

from pydantic import Field

from service.schemas.strict import Out


class Problem(Out):
    """RFC 9457. Nothing of what was sent is repeated but field names."""

    type: str
    """`urn:rankloop:` and the name of the refusal, or `about:blank` where the status says it all."""
    title: str
    """Of the status."""
    status: int = Field(ge=400, le=599)
    """The same as the response's."""
    detail: str
    """What is wrong, and where."""


class NestedError(Out):
    """What clients of OpenAI-shaped services read."""

    message: str
    """The same as `detail`."""
    type: str
    """The name of the refusal."""
    param: None
    """Always null."""
    code: int
    """The status."""


class RerankProblem(Problem):
    """A problem that says it once more where clients of other rerankers look."""

    message: str
    """The same as `detail`."""
    error: NestedError
    """The same, nested."""


class TeiError(Out):
    """A refusal as Text Embeddings Inference says it, of a body with `texts`."""

    error: str
    """What is wrong, and where."""
    error_type: str
    """`Validation`, `Overloaded`, `Backend` or `Unhealthy`."""
