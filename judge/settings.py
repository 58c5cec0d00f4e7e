"""What the judge is told by its environment: RANKLOOP_JUDGE_..., each name refused when it is misspelt."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "RANKLOOP_JUDGE_"
RUBRICS: Final = Path(__file__).parent / "rubrics"


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
    """Calls for one verdict, the first included, before the task goes back to the queue. All of them should fit
    into the five minutes of a lease."""
    llm_max_tokens: int = Field(default=512, ge=16)
    """Length of the LLM's reply; models that think first need more."""

    rubric: Path = RUBRICS / "answer_quality.toml"
    """What is asked, as a TOML file."""
    concurrency: int = Field(default=4, ge=1, le=256)
    """Answers judged at the same time."""
    poll_s: float = Field(default=2, gt=0)
    """How long to wait when nothing waits for a verdict."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9092, ge=0, le=65535)
    """Prometheus metrics; 0 takes any free port."""

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
