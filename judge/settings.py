"""What the judge is told by its environment: RANKLOOP_JUDGE_..., each name refused when it is misspelt."""

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from judge.state import PICOS

PREFIX: Final = "RANKLOOP_JUDGE_"
SHADOW: Final = "shadow"
"""The flag of a verdict that is to be seen and is no reward."""
LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""Parameters that bound a reply."""


class Sampling(BaseModel):
    """How likely an answer is judged: the largest of those that hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: float = Field(default=1, gt=0, le=1)
    explored: float = Field(default=0, ge=0, le=1)
    canary: float = Field(default=0, ge=0, le=1)
    low_margin: float = Field(default=0, ge=0, le=1)
    margin: float = Field(default=0.05, ge=0)


class JudgeSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    service_url: HttpUrl = HttpUrl("http://127.0.0.1:8000")
    """Where the answers wait and the verdicts go."""
    api_key: SecretStr | None = None
    """The service's key, of the scope `judge`. Its tenant's answers are judged."""

    llm_url: HttpUrl | None = None
    """Base URL of an OpenAI-compatible API, such as http://127.0.0.1:8080/v1. Without one the judge idles."""
    llm_model: str = "default"
    """The model's name, as that API knows it."""
    llm_key: SecretStr | None = None
    """Sent as a bearer token."""
    llm_timeout_s: float = Field(default=60, gt=0)
    """For one call."""
    llm_attempts: int = Field(default=3, ge=1, le=10)
    """Calls for one verdict, the first included, while the API is busy or away. All of them should fit into the five
    minutes of a lease."""
    llm_max_tokens: int = Field(default=512, ge=16)
    """Length of the LLM's reply; models that think first need more."""
    llm_params: dict[str, JsonValue] = {}
    """More parameters of each call, as JSON; null takes out one of ours, `temperature` or `max_tokens`."""
    llm_calls_per_minute: float = Field(default=600, ge=1)
    """Calls that are begun in a minute at most, evenly spaced."""
    llm_prompt_price: Decimal = Field(default=Decimal(0), ge=0)
    """Of a million tokens that the LLM reads, in any currency."""
    llm_completion_price: Decimal = Field(default=Decimal(0), ge=0)
    """Of a million tokens that it writes."""
    daily_cost: Decimal | None = Field(default=None, ge=0)
    """Spent in a UTC day at most: before a call as much is set aside as it can cost, and nothing is leased while the
    rest does not suffice. Needs the prices and `RANKLOOP_JUDGE_STATE`."""
    state: Path | None = None
    """File that keeps what was spent and replied over restarts; judges of one machine may share it. Unset, a judge
    forgets both when it stops."""

    rubric: str = "answer_quality"
    """What is asked: answer_quality, correctness, faithfulness, document_utility, or the path of a YAML file."""
    sampling: Sampling = Sampling()
    """Which answers are judged, as JSON: the probability of any (`floor`), and of those whose order was explored,
    whose model was a canary, or whose two best scores differ by less than `margin` (`low_margin`); the largest that
    holds counts and goes into the verdict."""
    settle_s: float = Field(default=0, ge=0, le=86_400)
    """How old an answer is before it is judged: the app's own verdict may come first."""
    suspects: bool = True
    """Leave answers unobserved where a text speaks to whoever grades it. Turn it off where documents are about that."""
    repeat_share: float = Field(default=0.05, ge=0, le=1)
    """Share of answers judged twice, to see how often the verdict flips."""
    probe_share: float = Field(default=0.01, ge=0, le=1)
    """Share of answers beside which a worthless one that praises itself is judged, which never becomes feedback."""
    probe_limit: float = Field(default=0.2, gt=0, lt=1)
    """Share of those that may fool the judge: where it is more, by a test at .001, no more answers are judged."""
    shadow: bool = False
    """Post verdicts that are seen and counted but are no rewards: for a rubric or an LLM that is not calibrated."""
    concurrency: int = Field(default=4, ge=1, le=256)
    """Answers judged at the same time."""
    poll_s: float = Field(default=2, gt=0)
    """How long to wait when nothing waits for a verdict."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9092, ge=0, le=65535)
    """Prometheus metrics; 0 takes any free port."""

    @property
    def params(self) -> dict[str, JsonValue]:
        """The sampling parameters of each call."""
        own = {"temperature": 0, "max_tokens": self.llm_max_tokens} | self.llm_params
        return {name: value for name, value in own.items() if value is not None}

    @property
    def completion_limit(self) -> int:
        """Tokens of a reply at most, as the parameters say it; 0 where they do not."""
        limits = (self.params.get(name) for name in LIMITS)
        return max((limit for limit in limits if isinstance(limit, int)), default=0)

    @property
    def flags(self) -> tuple[str, ...]:
        """Of every verdict."""
        return (SHADOW,) if self.shadow else ()

    @property
    def cap(self) -> int | None:
        """`daily_cost` in picos."""
        return None if self.daily_cost is None else int(self.daily_cost * PICOS)

    @field_validator("llm_url")
    @classmethod
    def refuse_secrets_in_an_address(cls, url: HttpUrl | None) -> HttpUrl | None:
        """It is written to logs."""
        if url is not None and (url.username or url.password or url.query):
            raise ValueError("neither user, password nor query: the key is RANKLOOP_JUDGE_LLM_KEY")
        return url

    @model_validator(mode="after")
    def refuse_half_a_cap(self) -> Self:
        if self.daily_cost is not None:
            if not self.llm_prompt_price and not self.llm_completion_price:
                raise ValueError("RANKLOOP_JUDGE_DAILY_COST needs the prices of the LLM")
            if not self.completion_limit:
                raise ValueError("RANKLOOP_JUDGE_DAILY_COST needs a limit of the reply's tokens")
            if self.state is None:
                raise ValueError(
                    "RANKLOOP_JUDGE_DAILY_COST needs RANKLOOP_JUDGE_STATE: a restart forgets it else"
                )
        return self

    @model_validator(mode="after")
    def refuse_unknown(self) -> Self:
        if unknown := _unknown(os.environ, known=set(type(self).model_fields)):
            message = f"unknown settings: {', '.join(unknown)}"
            raise ValueError(message)
        return self


def _unknown(environ: Mapping[str, str], *, known: set[str]) -> list[str]:
    """The variables in our territory that name no field: pydantic-settings ignores them in silence."""
    ours = (name for name in environ if name.startswith(PREFIX))
    return sorted(name for name in ours if name.removeprefix(PREFIX).lower() not in known)
