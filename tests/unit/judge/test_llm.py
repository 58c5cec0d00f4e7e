import threading

import httpx
import pytest
from pydantic import HttpUrl, SecretStr

from judge.llm import Llm, LlmFailed, Opinion
from judge.retries import Backoff
from judge.settings import JudgeSettings
from tests.scripted_llm import Reply, ScriptedLlm, scripted_llm

AT_ONCE = Backoff(first_s=0.001)


async def ask(llm: ScriptedLlm, **changes: object) -> Opinion:
    settings = JudgeSettings.model_validate(
        {"llm_url": HttpUrl(llm.url), "llm_model": "a-judge"} | changes
    )
    async with httpx.AsyncClient() as client:
        asked = Llm(client, settings, backoff=AT_ONCE)
        return await asked.ask([{"role": "user", "content": "Is it good?"}])


async def test_an_opinion_says_who_gave_it_and_what_it_cost():
    with scripted_llm(Reply(text='{"score": 0.8, "rationale": "fine"}')) as llm:
        opinion = await ask(llm, llm_key=SecretStr("sk-1"), llm_max_tokens=99)

    assert (opinion.verdict.score, opinion.verdict.rationale) == (0.8, "fine")
    assert (opinion.provider, opinion.model) == ("127.0.0.1", "a-judge-2026")
    assert (opinion.usage.prompt_tokens, opinion.usage.completion_tokens) == (100, 20)
    assert llm.requests == [
        {
            "model": "a-judge",
            "messages": [{"role": "user", "content": "Is it good?"}],
            "temperature": 0,
            "max_tokens": 99,
        }
    ]
    assert llm.headers[0]["Authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(status=500),
        Reply(status=503, body=b"<html>"),
        Reply(text="I would rather not."),
        Reply(body=b"no json"),
        Reply(body=b'{"choices": []}'),
        Reply(body=b'{"choices": [{"message": {"content": null}}]}'),
    ],
)
async def test_trouble_that_may_pass_is_asked_about_again(trouble: Reply):
    with scripted_llm(trouble, Reply(text='{"score": 1}')) as llm:
        opinion = await ask(llm)

    assert opinion.verdict.score == 1
    assert len(llm.requests) == 2


async def test_it_is_asked_so_many_times_and_not_more():
    with scripted_llm(Reply(status=503)) as llm, pytest.raises(LlmFailed, match="status 503"):
        await ask(llm, llm_attempts=3)

    assert len(llm.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_will_not_pass_is_not_asked_about_again(status: int):
    with scripted_llm(Reply(status=status)) as llm, pytest.raises(LlmFailed, match=str(status)):
        await ask(llm)

    assert len(llm.requests) == 1


async def test_a_server_that_does_not_answer_in_time_failed():
    never = threading.Event()
    with scripted_llm(Reply(wait_for=never)) as llm:
        with pytest.raises(LlmFailed, match="ReadTimeout"):
            await ask(llm, llm_timeout_s=0.05, llm_attempts=2)
        never.set()


async def test_a_server_that_is_not_there_failed():
    with scripted_llm(Reply()) as gone:
        pass

    with pytest.raises(LlmFailed, match="ConnectError"):
        await ask(gone, llm_attempts=2)
