"""What can be set, as RANKLOOP_ variables; a misspelt name is refused at start."""

import os
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.environment import refuse_unknown


class Device(StrEnum):
    """Where models run; `cuda` refuses to start where ONNX Runtime would fall back to the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Which variant of a version scores; `auto` takes the one that suits this machine."""

    AUTO = "auto"
    FLOAT32 = "float32"
    INT8 = "int8"
    FLOAT16 = "float16"
    FLOAT16_PACKED = "float16-packed"
    """Without padding; CUDA alone."""


class LogText(StrEnum):
    """How much of queries and documents is stored with a decision."""

    FULL = "full"
    HASH = "hash"
    """Their sha256 alone: decisions can be counted and matched, not trained on."""
    OFF = "off"
    """Nothing: decisions are not stored, and every answer says `logged: false`."""


class ServiceSettings(BaseSettings):
    """The service's settings; the first six are shared with the other processes."""

    model_config = SettingsConfigDict(
        env_prefix="RANKLOOP_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    database_url: str
    """PostgreSQL, as `postgresql+psycopg://user@host:port/database`."""
    redis_url: str
    """Redis or Valkey, as `redis://host:port/0` or `unix:///path`."""
    artifacts_url: str
    """Where model versions are stored: a folder or any fsspec URL."""
    secret: SecretStr = Field(min_length=16)
    """Signs decision ids, feedback tokens and the pointer to the live model; keys are stored under it.
    The same for service and trainer."""
    cache_dir: Path
    """Where fetched model versions are kept."""
    line: str = "default"
    """The line that answers requests that name no model."""

    service_host: str = "127.0.0.1"
    service_port: int = Field(default=8000, ge=0, le=65535)
    service_refuse_unknown_models: bool = False
    """Whether `model` must be the name of a line; else the default line answers to names that are none."""
    service_require_keys: bool | None = None
    """Whether nobody is answered without a key. Unset, it depends on the host: not on a loopback address."""
    service_keys_hold_s: float = Field(default=3600.0, ge=0)
    """While Postgres is away, the keys that were known work for so long, and no revocation is heard of."""
    service_feedback_token_s: float = Field(default=604_800.0, ge=0)
    """How long a browser may speak of a decision with the token that came with it."""
    service_cors_origins: tuple[str, ...] = ()
    """Origins whose pages may post feedback, as JSON: ["https://app.example.com"]."""
    service_device: Device = Device.AUTO
    service_precision: Precision = Precision.AUTO
    service_threads: int = Field(default=0, ge=0)
    """Threads of one inference; 0 takes every core this process may use."""

    service_epsilon: float = Field(default=0.1, ge=0, le=1)
    """Share of requests that explore. At 0 nothing can be learned from the log."""
    service_sampled: int = Field(default=20, ge=1)
    """How many of the best candidates take part in an exploration."""
    service_max_fall: int | None = Field(default=None, ge=0, le=2**15 - 1)
    """How many ranks a document may lose by exploration; unset does not bound it."""
    service_explore_budget_daily: int | None = Field(default=None, ge=0)
    """Explored requests a day (UTC) and replica, counted in memory; unset does not bound them."""
    service_repeat_s: float = Field(default=600.0, ge=0)
    """The same session, query and candidates keep their order for so long."""
    service_repeated_documents: int = Field(default=200_000, ge=1)
    """Answers are remembered for repeats and for Idempotency-Keys, the oldest forgotten first: of each kind as many
    as have so many documents together."""

    service_token_cache_bytes: int = Field(default=64 << 20, ge=0)
    """Tokens of documents that each process keeps, each tenant's for itself: what comes again is not tokenised again.
    0 keeps none."""
    service_batch_tokens: int = Field(default=0, ge=0)
    """Padded tokens of one inference, real ones in float16-packed; 0 takes 1024 on a CPU and 8192 on a GPU."""
    service_max_queued_tokens: int = Field(default=200_000, ge=1)
    """A request is refused with 429 where so many tokens would be scored before it is through. A large one that waits
    is in nobody's way who is due before it."""
    service_max_wait_s: float = Field(default=10.0, ge=0)
    """A request is refused with 429 that would be overdue for longer: it is due twelve times as late as it would be
    answered alone. A proxy's `x-envoy-expected-rq-timeout-ms` may allow it less."""
    service_max_body_bytes: int = Field(default=1 << 20, ge=1)
    service_max_documents: int = Field(default=1000, ge=1, le=10_000)

    service_log_text: LogText = LogText.FULL
    service_log_queue_bytes: int = Field(default=64 << 20, ge=0)
    """Decisions that wait for Postgres, in bytes of text; beyond it answers say `logged: false`."""
    service_drain_s: float = Field(default=10.0, ge=0)
    """How long a stopping service tries to store the decisions that still wait."""
    service_poll_s: float = Field(default=5.0, gt=0)
    """How often Postgres is asked for the live versions, whatever Redis says."""

    @property
    def is_private(self) -> bool:
        """Whether nobody but this machine can reach the service."""
        try:
            return ip_address(self.service_host).is_loopback
        except ValueError:
            return self.service_host == "localhost"

    @property
    def keys_required(self) -> bool:
        return (
            not self.is_private if self.service_require_keys is None else self.service_require_keys
        )

    @model_validator(mode="after")
    def _refuse_unknown(self) -> Self:
        refuse_unknown("service", type(self).model_fields, os.environ)
        return self
