import pytest
from pydantic import ValidationError

from judge.queue import Queue
from judge.rubric import Rubric
from judge.settings import JudgeSettings


def test_without_an_llm_there_are_still_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RANKLOOP_JUDGE_LLM_URL", raising=False)

    settings = JudgeSettings()

    assert settings.llm_url is None
    assert settings.rubric == "answer_quality"


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

    queue = Queue.at(settings, Rubric.named(settings.rubric))

    assert "rl_1_2" not in repr(settings)
    assert queue.client.headers["Authorization"] == "Bearer rl_1_2"


def test_a_cap_needs_prices_and_a_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKLOOP_JUDGE_DAILY_COST", "2.5")
    with pytest.raises(ValidationError, match="needs the prices"):
        JudgeSettings()

    monkeypatch.setenv("RANKLOOP_JUDGE_LLM_PROMPT_PRICE", "0.15")
    with pytest.raises(ValidationError, match="needs RANKLOOP_JUDGE_STATE"):
        JudgeSettings()

    monkeypatch.setenv("RANKLOOP_JUDGE_STATE", "judge.sqlite")
    assert JudgeSettings().cap == 2_500_000_000_000


@pytest.mark.parametrize(("priced", "forgotten"), [("LLM", "READER"), ("READER", "LLM")])
def test_a_cap_of_two_needs_the_prices_of_both_and_one_over_0(
    monkeypatch: pytest.MonkeyPatch, priced: str, forgotten: str
):
    monkeypatch.setenv("RANKLOOP_JUDGE_DAILY_COST", "2.5")
    monkeypatch.setenv("RANKLOOP_JUDGE_STATE", "judge.sqlite")
    monkeypatch.setenv("RANKLOOP_JUDGE_READER_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv(f"RANKLOOP_JUDGE_{priced}_COMPLETION_PRICE", "1")
    with pytest.raises(ValidationError, match=f"(?i)prices of the {forgotten}: 0 where"):
        JudgeSettings()

    monkeypatch.setenv(f"RANKLOOP_JUDGE_{forgotten}_COMPLETION_PRICE", "0")
    assert [endpoint.has_price for endpoint in JudgeSettings().endpoints].count(True) == 1

    monkeypatch.setenv(f"RANKLOOP_JUDGE_{priced}_COMPLETION_PRICE", "0")
    with pytest.raises(ValidationError, match="needs a price over 0"):
        JudgeSettings()


def test_a_cap_holds_for_the_reader_whose_prices_have_to_be_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKLOOP_JUDGE_DAILY_COST", "2.5")
    monkeypatch.setenv("RANKLOOP_JUDGE_STATE", "judge.sqlite")
    monkeypatch.setenv("RANKLOOP_JUDGE_LLM_PROMPT_PRICE", "0.15")
    monkeypatch.setenv("RANKLOOP_JUDGE_READER_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(ValidationError, match="prices of the reader: 0 where it costs nothing"):
        JudgeSettings()

    monkeypatch.setenv("RANKLOOP_JUDGE_READER_PROMPT_PRICE", "0")
    assert JudgeSettings().reader

    monkeypatch.setenv("RANKLOOP_JUDGE_READER_COMPLETION_PRICE", "1")
    monkeypatch.setenv("RANKLOOP_JUDGE_READER_PARAMS", '{"max_tokens": null}')
    with pytest.raises(ValidationError, match="needs a limit of the reply's tokens"):
        JudgeSettings()


def test_the_reader_is_asked_as_the_settings_say_and_is_patient_as_the_judge(
    monkeypatch: pytest.MonkeyPatch,
):
    assert JudgeSettings().reader is None
    monkeypatch.setenv("RANKLOOP_JUDGE_LLM_TIMEOUT_S", "7")
    monkeypatch.setenv("RANKLOOP_JUDGE_LLM_MODEL", "a-judge")
    monkeypatch.setenv("RANKLOOP_JUDGE_READER_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("RANKLOOP_JUDGE_READER_MODEL", "the-apps")
    monkeypatch.setenv("RANKLOOP_JUDGE_READER_PARAMS", '{"temperature": 0.7, "seed": 1}')

    reader = JudgeSettings().reader

    assert reader is not None
    assert (reader.url, reader.model, reader.timeout_s) == ("http://127.0.0.1:1/v1", "the-apps", 7)
    assert reader.params == {"temperature": 0.7, "max_tokens": 1024, "seed": 1}


@pytest.mark.parametrize("name", ["LLM", "READER"])
def test_an_address_with_a_password_names_where_the_key_belongs(
    monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv(f"RANKLOOP_JUDGE_{name}_URL", "http://me:secret@127.0.0.1/v1")

    with pytest.raises(ValidationError, match=f"the key is RANKLOOP_JUDGE_{name}_KEY"):
        JudgeSettings()


def test_what_goes_with_every_lease_is_what_the_settings_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKLOOP_JUDGE_SETTLE_S", "60")
    monkeypatch.setenv("RANKLOOP_JUDGE_SAMPLING", '{"floor": 0.1, "canary": 0.5}')
    settings = JudgeSettings()

    queue = Queue.at(settings, Rubric.named(settings.rubric))

    assert queue.asking == {
        "rubric": {"id": "answer_quality", "version": "2"},
        "settle_s": 60,
        "sampling": {
            "floor": 0.1,
            "explored": 0,
            "canary": 0.5,
            "low_margin": 0,
            "margin": 0.05,
        },
    }


@pytest.mark.parametrize("sampling", ['{"floor": 0}', '{"explored": 2}', '{"flor": 1}', "0.5"])
def test_a_sampling_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, sampling: str):
    monkeypatch.setenv("RANKLOOP_JUDGE_SAMPLING", sampling)

    with pytest.raises(ValidationError):
        JudgeSettings()
