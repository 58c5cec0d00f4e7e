import pytest
from pydantic import ValidationError

from judge.queue import Queue
from judge.rubric import Rubric
from judge.settings import JudgeSettings


def test_without_an_llm_there_are_still_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RANKLOOP_JUDGE_LLM_URL", raising=False)

    settings = JudgeSettings()

    assert settings.llm_url is None
    assert settings.rubric.name == "answer_quality.toml"


def test_a_misspelt_name_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKLOOP_JUDGE_LLM_MODLE", "x")
    monkeypatch.setenv("RANKLOOP_SERVICE_EPSILON", "0.1")

    with pytest.raises(ValidationError, match="unknown settings: RANKLOOP_JUDGE_LLM_MODLE"):
        JudgeSettings()


def test_the_key_does_not_print(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKLOOP_JUDGE_LLM_KEY", "sk-secret")

    assert "sk-secret" not in repr(JudgeSettings())


def test_the_services_key_does_not_print_and_goes_with_every_request(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("RANKLOOP_JUDGE_API_KEY", "rl_1_2")
    settings = JudgeSettings()

    queue = Queue.at(
        "http://service", rubric=Rubric.from_file(settings.rubric), key=settings.api_key
    )

    assert "rl_1_2" not in repr(settings)
    assert queue.client.headers["Authorization"] == "Bearer rl_1_2"
