import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from judge.llm import Completion, Llm, LlmFailed
from judge.retries import Backoff
from judge.settings import JudgeSettings
from judge.state import PICOS, CapReached, State
from tests.scripted_llm import Reply, ScriptedLlm, scripted_llm

FIELDS = {"llm_model": "a-judge", "llm_calls_per_minute": 60_000}
SCHEMA = {"type": "object"}
PROMPT = [{"role": "user", "content": "Is it good?"}]
PRICES = {"llm_prompt_price": Decimal(2), "llm_completion_price": Decimal(10)}
AT_ONCE = Backoff(first_s=0.001)
PAID = 100 * 2_000_000 + 20 * 10_000_000
"""For the 100 and 20 tokens that the scripted server counts, in picos."""


@asynccontextmanager
async def opened(
    llm: ScriptedLlm, cap: int | None = None, **changes: Any
) -> AsyncIterator[tuple[Llm, State]]:
    settings = JudgeSettings.model_validate(FIELDS | {"llm_url": llm.url} | changes)
    with State.opened(None, cap=cap) as state:
        async with Llm.opened(settings.llm, state, backoff=AT_ONCE) as asked:
            yield asked, state


async def ask(llm: ScriptedLlm, **changes: Any) -> Completion:
    async with opened(llm, **changes) as (asked, _):
        return await asked.ask(PROMPT, SCHEMA)


async def test_a_completion_says_who_wrote_it_and_what_it_took():
    with scripted_llm(Reply(text="fine")) as llm:
        completion = await ask(llm, llm_key=SecretStr("sk-1"), llm_max_tokens=99, **PRICES)

    assert (completion.text, completion.model) == ("fine", "a-judge-2026")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (100, 20)
    assert completion.cost == PAID
    assert not completion.truncated
    assert llm.requests == [
        {
            "model": "a-judge",
            "messages": PROMPT,
            "temperature": 0,
            "max_tokens": 99,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
            },
        }
    ]
    assert "Bearer sk-1" in llm.headers[0].values()


async def test_parameters_are_added_and_taken_out():
    with scripted_llm(Reply()) as llm:
        await ask(llm, llm_params={"max_tokens": None, "max_completion_tokens": 70, "seed": 1})

    sent = llm.requests[0]
    assert (sent["max_completion_tokens"], sent["seed"], sent["temperature"]) == (70, 1, 0)
    assert "max_tokens" not in sent


async def test_who_wants_prose_sends_no_schema():
    with scripted_llm(Reply(status=400), Reply(text="fine")) as llm:
        async with opened(llm) as (asked, _):
            with pytest.raises(LlmFailed, match="status_400"):
                await asked.ask(PROMPT)
            await asked.ask(PROMPT)

    assert ["response_format" in request for request in llm.requests] == [False, False]


@pytest.mark.parametrize("status", [400, 422])
async def test_an_api_without_schemas_is_asked_without_one_and_not_with_one_again(status: int):
    with scripted_llm(Reply(status=status), Reply(text="fine")) as llm:
        async with opened(llm) as (asked, _):
            first = await asked.ask(PROMPT, SCHEMA)
            await asked.ask(PROMPT, SCHEMA)

    assert first.text == "fine"
    assert ["response_format" in request for request in llm.requests] == [True, False, False]


async def test_a_prompt_that_is_refused_with_and_without_a_schema_says_nothing_about_schemas():
    refused = Reply(status=400)
    with scripted_llm(refused, refused, Reply(text="fine")) as llm:
        async with opened(llm) as (asked, _):
            with pytest.raises(LlmFailed, match="status_400"):
                await asked.ask(PROMPT, SCHEMA)
            await asked.ask(PROMPT, SCHEMA)

    assert ["response_format" in request for request in llm.requests] == [True, False, True]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_trouble_that_may_pass_is_asked_about_again(status: int):
    with scripted_llm(Reply(status=status, body=b"<html>"), Reply(text="fine")) as llm:
        completion = await ask(llm)

    assert completion.text == "fine"
    assert len(llm.requests) == 2


async def test_a_wait_that_the_api_asks_for_is_honoured():
    asked: list[str | None] = []

    class Waits(Backoff):
        def wait_s(self, attempt: int, retry_after: str | None = None) -> float:
            asked.append(retry_after)
            return 0.0

    with scripted_llm(Reply(status=429, headers={"Retry-After": "7"}), Reply()) as llm:
        settings = JudgeSettings.model_validate({"llm_url": llm.url})
        with State.opened(None) as state:
            async with Llm.opened(settings.llm, state, backoff=Waits()) as waiting:
                await waiting.ask(PROMPT, SCHEMA)

    assert asked == ["7"]


async def test_it_is_asked_so_many_times_and_not_more():
    with scripted_llm(Reply(status=503)) as llm, pytest.raises(LlmFailed, match="status_503"):
        await ask(llm, llm_attempts=3)

    assert len(llm.requests) == 3


async def test_a_server_that_drips_is_not_waited_for_longer_than_told():
    ended = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        with suppress(OSError):
            for _byte in range(1000):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        ended.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dripping = ScriptedLlm(url=f"http://127.0.0.1:{port}/v1", script=[])
    async with server:
        with pytest.raises(LlmFailed, match="timeout"):
            await ask(dripping, llm_timeout_s=0.2, llm_attempts=1)
        await asyncio.wait_for(ended.wait(), timeout=10)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_will_not_pass_is_not_asked_about_again(status: int):
    with scripted_llm(Reply(status=status)) as llm, pytest.raises(LlmFailed, match=str(status)):
        await ask(llm)

    assert len(llm.requests) == 1


async def test_a_server_that_does_not_answer_in_time_failed():
    never = threading.Event()
    with scripted_llm(Reply(wait_for=never)) as llm:
        with pytest.raises(LlmFailed, match=r"timeout: no reply in 0\.05 s"):
            await ask(llm, llm_timeout_s=0.05, llm_attempts=2)
        never.set()


async def test_a_server_that_is_not_there_failed():
    with scripted_llm(Reply()) as gone:
        pass

    with pytest.raises(LlmFailed, match="connection: ConnectError"):
        await ask(gone, llm_attempts=2)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"no json", "malformed"),
        (b'{"choices": []}', "malformed"),
        (b'{"choices": [{"message": {"content": null}}]}', "malformed"),
        (b'{"choices": [{"message": {"refusal": "I may not."}}]}', "refused"),
        (b'{"choices": [{"message": {}, "finish_reason": "content_filter"}]}', "refused"),
    ],
)
async def test_a_reply_that_is_no_completion_is_named(said: bytes, kind: str):
    with scripted_llm(Reply(body=said)) as llm, pytest.raises(LlmFailed) as failure:
        await ask(llm, llm_attempts=1)

    assert failure.value.kind == kind


@pytest.mark.parametrize("text", ["{", "", None])
async def test_a_reply_that_was_cut_off_says_so_also_before_the_first_word(text: str | None):
    cut = {"choices": [{"message": {"content": text}, "finish_reason": "length"}]}
    with scripted_llm(Reply(body=json.dumps(cut).encode())) as llm:
        assert (await ask(llm)).truncated

    assert len(llm.requests) == 1


def bound(completion: int = 16) -> int:
    """What a call may cost: the prompt's 11 bytes, the schema's and the template's 64 tokens at 2, a reply's at 10."""
    schema = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True}}
    schema["json_schema"]["schema"] = SCHEMA  # type: ignore[index]
    read = 11 + len(str({"response_format": schema})) + 64
    return read * 2_000_000 + completion * 10_000_000


BOUND = bound()
SMALL: dict[str, Any] = {"llm_attempts": 1, "llm_max_tokens": 16, **PRICES}


async def test_a_call_that_the_rest_of_the_day_does_not_pay_for_is_not_made():
    with scripted_llm(Reply()) as llm:
        async with opened(llm, cap=BOUND - 1, **SMALL) as (asked, _):
            assert asked.can_pay()
            with pytest.raises(CapReached):
                await asked.ask(PROMPT, SCHEMA)
            assert not asked.can_pay()

    assert llm.requests == []


async def test_what_is_set_aside_is_settled_by_the_apis_own_count():
    with scripted_llm(Reply()) as llm:
        async with opened(llm, cap=BOUND, **SMALL) as (asked, state):
            await asked.ask(PROMPT, SCHEMA)
            spent = state.spent()

    # 100 tokens at 2 and 20 at 10 a million: .0004.
    assert spent == PAID
    assert spent / PICOS == pytest.approx(0.0004)


@pytest.mark.parametrize(
    ("reply", "cost"),
    [
        (Reply(status=429), 0),
        (Reply(status=500), BOUND),
        (Reply(body=b'{"choices": [{"message": {"content": "x"}}]}'), BOUND),
        (Reply(body=b"cut of"), BOUND),
    ],
)
async def test_a_refusal_is_free_and_what_nobody_counted_costs_what_was_set_aside(
    reply: Reply, cost: int
):
    with scripted_llm(reply) as llm:
        async with opened(llm, **SMALL) as (asked, state):
            with suppress(LlmFailed):
                await asked.ask(PROMPT, SCHEMA)
            assert state.spent() == cost


async def test_each_attempt_is_paid_for_by_itself():
    never = threading.Event()
    with scripted_llm(Reply(wait_for=never), Reply(wait_for=never), Reply()) as llm:
        async with opened(llm, **SMALL | {"llm_attempts": 3, "llm_timeout_s": 0.2}) as (
            asked,
            state,
        ):
            await asked.ask(PROMPT, SCHEMA)
            never.set()
            # Of two that were cut off nobody knows; the third one was counted.
            assert state.spent() == 2 * BOUND + PAID


async def test_a_reply_is_as_long_as_the_parameters_allow_when_money_is_set_aside():
    more = {"llm_params": {"max_tokens": None, "max_completion_tokens": 8000}}
    with scripted_llm(Reply()) as llm:
        async with opened(llm, cap=bound(8000) - 1, **SMALL | more) as (asked, _):
            with pytest.raises(CapReached):
                await asked.ask(PROMPT, SCHEMA)


async def test_no_more_calls_are_begun_in_a_minute_than_told():
    with scripted_llm(Reply()) as llm:
        async with opened(llm, llm_calls_per_minute=1) as (asked, _):
            await asked.ask(PROMPT, SCHEMA)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked.ask(PROMPT, SCHEMA), timeout=0.3)

    assert len(llm.requests) == 1
