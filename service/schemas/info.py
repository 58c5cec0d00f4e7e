"""What a replica says of itself, to whoever asks it and to the others."""

from datetime import datetime

from pydantic import Field

from service.schemas.strict import Out


class Serving(Out):
    """One line's model."""

    line: str
    """Its name."""
    epoch: int
    """Of the line: each change is a new one."""
    version: str
    """The model."""
    canary_version: str | None
    """A second model, which answers a share of the sessions."""
    canary_share: float
    """That share; 0 where there is none, or where it was refused here."""
    hold_back_version: str | None
    """The base of the line, which answers a share of the sessions for good."""
    hold_back_share: float
    """That share; 0 where nobody is held back, where the base is the champion, or where it was refused here."""
    precision: str
    """In which it runs."""
    temperature: float
    """By which its scores are divided before an order is drawn."""
    base: str
    """The family of models that it grew from."""


class Rejected(Out):
    """A version that this replica was told to serve and does not, and why."""

    line: str
    """The line it was meant for."""
    epoch: int
    """Of the line."""
    version: str
    """The model that is not served."""
    reason: str
    """Why not."""
    at: datetime
    """When it was refused."""


class Reranks(Out):
    """As Text Embeddings Inference says that a model is a reranker."""

    reranker: dict[str, str] = Field(default_factory=dict)
    """Always empty."""


class Info(Out):
    """What this replica is; the fields that clients of Text Embeddings Inference read come first."""

    model_id: str
    """The line that answers requests that name no model."""
    model_sha: str | None
    """The version that it serves."""
    model_dtype: str | None
    """The precision in which it runs."""
    model_type: Reranks = Reranks()
    """What the model is for."""
    max_input_length: int | None
    """Tokens of a query and a document together."""
    max_client_batch_size: int
    """Documents of one request."""
    version: str
    """Of this service."""
    provider: str
    """Of ONNX Runtime, which runs the models."""
    threads: int
    """Of one inference."""
    serving: list[Serving]
    """What each line serves."""
    rejected: list[Rejected]
    """The last version of each line that was refused."""
    waiting_decisions: int
    """Decisions that wait for Postgres."""


class Replica(Info):
    """One process that serves, as it last said of itself."""

    id: str
    """Of the process."""
    host: str
    """The machine or container it runs on."""
    port: int
    """Where it answers there."""
    started_at: datetime
    """When the process began."""
    seen_at: datetime
    """When it last said so; one that is silent for long is not listed."""
    degraded: list[str]
    """Of `postgres`, `redis`, `decision_log`."""
