"""What the judge is told by its environment: RANKLOOP_JUDGE_..., each name refused when it is misspelt."""

import os
from collections.abc import Mapping
from dataclasses import replace
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
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from judge.endpoint import Endpoint
from judge.state import PICOS

PREFIX: Final = "RANKLOOP_JUDGE_"
SHADOW: Final = "shadow"
"""The flag of a verdict that is to be seen and is no reward."""
LLM_PRICES: Final = frozenset({"llm_prompt_price", "llm_completion_price"})
READER_PRICES: Final = frozenset({"reader_prompt_price", "reader_completion_price"})


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
    """Of a million tokens that the LLM reads, in any currency. Where there is a cap one of the two prices has to be
    set, if only to 0."""
    llm_completion_price: Decimal = Field(default=Decimal(0), ge=0)
    """Of a million tokens that it writes."""
    daily_cost: Decimal | None = Field(default=None, ge=0)
    """Spent in a UTC day at most, replays included: before a call as much is set aside as it can cost, and nothing is
    leased while the rest does not suffice. Needs the prices of all that is asked, one of them over 0, and
    `RANKLOOP_JUDGE_STATE`."""
    state: Path | None = None
    """File that keeps what was spent and replied over restarts; judges of one machine may share it. Unset, a judge
    forgets both when it stops."""

    reader_url: HttpUrl | None = None
    """Base URL of the OpenAI-compatible API that the app answers with: replays are answered by it. Without one none is
    leased, nor in shadow."""
    reader_model: str = "default"
    """The app's model, as that API knows it."""
    reader_key: SecretStr | None = None
    """Sent as a bearer token."""
    reader_prompt: Path | None = None
    """File with the app's prompt: {question} and {documents} stand where they belong. Unset, a plain one of ours."""
    reader_max_tokens: int = Field(default=1024, ge=16)
    """Length of an answer; one that is cut off is none."""
    reader_params: dict[str, JsonValue] = {}
    """More parameters of each call, as JSON; null takes out one of ours, `temperature` or `max_tokens`. Timeout,
    attempts and calls in a minute are as for the judge's own LLM."""
    reader_prompt_price: Decimal = Field(default=Decimal(0), ge=0)
    """Of a million tokens that it reads. Where there is a cap one of the two prices has to be set here too, if only to
    0."""
    reader_completion_price: Decimal = Field(default=Decimal(0), ge=0)
    """Of a million tokens that it writes."""
    pair_rubric: str = "pairwise"
    """By which two answers are compared: pairwise, or the path of a YAML file of the kind `pair`."""

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
    """Answers judged, or replays made, at the same time."""
    poll_s: float = Field(default=2, gt=0)
    """How long to wait when nothing waits for a verdict."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9092, ge=0, le=65535)
    """Prometheus metrics; 0 takes any free port."""

    @property
    def llm(self) -> Endpoint:
        """Who judges; without `llm_url` nobody does."""
        return Endpoint(
            url=str(self.llm_url),
            model=self.llm_model,
            key=self.llm_key,
            params=_params(self.llm_max_tokens, self.llm_params),
            prompt_price=self.llm_prompt_price,
            completion_price=self.llm_completion_price,
            timeout_s=self.llm_timeout_s,
            attempts=self.llm_attempts,
            calls_per_minute=self.llm_calls_per_minute,
        )

    @property
    def reader(self) -> Endpoint | None:
        """Who answers; None where nobody does."""
        if self.reader_url is None:
            return None
        return replace(
            self.llm,
            url=str(self.reader_url),
            model=self.reader_model,
            key=self.reader_key,
            params=_params(self.reader_max_tokens, self.reader_params),
            prompt_price=self.reader_prompt_price,
            completion_price=self.reader_completion_price,
        )

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (self.llm,) if self.reader is None else (self.llm, self.reader)

    @property
    def flags(self) -> tuple[str, ...]:
        """Of every verdict."""
        return (SHADOW,) if self.shadow else ()

    @property
    def cap(self) -> int | None:
        """`daily_cost` in picos."""
        return None if self.daily_cost is None else int(self.daily_cost * PICOS)

    @field_validator("llm_url", "reader_url")
    @classmethod
    def refuse_secrets_in_an_address(
        cls, url: HttpUrl | None, info: ValidationInfo
    ) -> HttpUrl | None:
        """It is written to logs."""
        if url is not None and (url.username or url.password or url.query):
            key = f"{PREFIX}{info.field_name}".removesuffix("_url").upper() + "_KEY"
            message = f"neither user, password nor query: the key is {key}"
            raise ValueError(message)
        return url

    @model_validator(mode="after")
    def refuse_half_a_cap(self) -> Self:
        if self.daily_cost is None:
            return self
        # One that is forgotten would be spent past the cap in silence.
        asked = {"LLM": LLM_PRICES} | ({} if self.reader is None else {"reader": READER_PRICES})
        for whose, prices in asked.items():
            if self.model_fields_set.isdisjoint(prices):
                message = f"RANKLOOP_JUDGE_DAILY_COST needs the prices of the {whose}: 0 where it costs nothing"
                raise ValueError(message)
        priced = [endpoint for endpoint in self.endpoints if endpoint.has_price]
        if not priced:
            raise ValueError("RANKLOOP_JUDGE_DAILY_COST needs a price over 0")
        if not all(endpoint.completion_limit for endpoint in priced):
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


def _params(max_tokens: int, more: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    own = {"temperature": 0, "max_tokens": max_tokens} | dict(more)
    return {name: value for name, value in own.items() if value is not None}


def _unknown(environ: Mapping[str, str], *, known: set[str]) -> list[str]:
    """The variables in our territory that name no field: pydantic-settings ignores them in silence."""
    ours = (name for name in environ if name.startswith(PREFIX))
    return sorted(name for name in ours if name.removeprefix(PREFIX).lower() not in known)
