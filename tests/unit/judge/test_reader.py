"""The reader over an OpenAI-compatible server that says what it is told to say."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from judge.llm import Llm
from judge.reader import Reader, ReaderFailed
from judge.retries import Backoff
from judge.settings import JudgeSettings
from judge.state import CapReached, State
from judge.template import Template
from tests.scripted_llm import Reply, ScriptedLlm, scripted_llm

TEMPLATE = Template(text="{question}\n{documents}")
FIELDS = {"llm_calls_per_minute": 60_000, "llm_attempts": 1, "reader_model": "the-apps"}
PRICES: dict[str, Any] = {"reader_prompt_price": Decimal(2), "reader_completion_price": Decimal(10)}
PAID = 100 * 2_000_000 + 20 * 10_000_000
"""For the 100 and 20 tokens that the scripted server counts, in picos."""


@asynccontextmanager
async def a_reader(
    llm: ScriptedLlm,
    *,
    path: Path | None = None,
    cap: int | None = None,
    template: Template = TEMPLATE,
    **changes: Any,
) -> AsyncIterator[Reader]:
    settings = JudgeSettings.model_validate(FIELDS | {"reader_url": llm.url} | changes)
    assert settings.reader is not None
    with State.opened(path, cap=cap) as state:
        async with Llm.opened(settings.reader, state, backoff=Backoff(first_s=0.001)) as asked:
            yield Reader(template=template, llm=asked, state=state)


async def test_the_app_is_asked_with_its_own_prompt_and_parameters_and_for_prose():
    with scripted_llm(Reply(text=" Two years.\n")) as llm:
        async with a_reader(
            llm, reader_key=SecretStr("sk-app"), reader_params={"seed": 1}, reader_max_tokens=70
        ) as reader:
            written = await reader.answer("How long?", ["It is two years.", "Ask us."])

    assert written.text == "Two years."
    assert llm.requests == [
        {
            "model": "the-apps",
            "messages": [
                {"role": "user", "content": "How long?\n[1] It is two years.\n\n[2] Ask us."}
            ],
            "temperature": 0,
            "max_tokens": 70,
            "seed": 1,
        }
    ]
    assert "Bearer sk-app" in llm.headers[0].values()


async def test_the_same_prompt_is_paid_for_once_also_after_a_restart(tmp_path: Path):
    with scripted_llm(Reply(text="Two years.")) as llm:
        for _ in range(2):
            async with a_reader(llm, path=tmp_path / "state", **PRICES) as reader:
                written = await reader.answer("How long?", ["D"])
                spent = reader.state.spent()

    assert len(llm.requests) == 1
    assert spent == PAID
    assert (written.text, written.cost, written.remembered) == ("Two years.", 0, True)


async def test_the_same_prompt_is_paid_for_once_also_by_many_at_once():
    with scripted_llm(Reply(text="Two years.")) as llm:
        async with a_reader(llm) as reader:
            asked = [reader.answer("How long?", ["D"]) for _ in range(8)]
            written = await asyncio.gather(*asked, reader.answer("How long?", ["other"]))

    assert len(llm.requests) == 2
    assert {each.text for each in written} == {"Two years."}


@pytest.mark.parametrize(
    "changes",
    [
        {"reader_model": "another"},
        {"reader_params": {"seed": 2}},
        {"template": Template(text="{question}: {documents}")},
    ],
)
async def test_another_app_answers_for_itself(tmp_path: Path, changes: dict[str, Any]):
    with scripted_llm(Reply(text="Two years.")) as llm:
        for told in ({}, changes):
            async with a_reader(llm, path=tmp_path / "state", **told) as reader:
                await reader.answer("How long?", ["D"])

    assert len(llm.requests) == 2


async def test_the_order_of_the_documents_is_part_of_the_question():
    with scripted_llm(Reply(text="Two years.")) as llm:
        async with a_reader(llm) as reader:
            await reader.answer("How long?", ["D", "E"])
            await reader.answer("How long?", ["E", "D"])

    assert len(llm.requests) == 2


async def test_what_a_model_thinks_aloud_is_no_part_of_its_answer():
    with scripted_llm(Reply(text="<think>Five? No.</think>\n\nTwo years.")) as llm:
        async with a_reader(llm) as reader:
            assert (await reader.answer("How long?", ["D"])).text == "Two years."


def cut_off(text: str) -> Reply:
    choice = {"message": {"content": text}, "finish_reason": "length"}
    return Reply(body=json.dumps({"choices": [choice]}).encode())


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (cut_off("Two ye"), "truncated"),
        (cut_off(""), "truncated"),
        (Reply(text="<think>Hm.</think> "), "malformed"),
    ],
)
async def test_what_is_no_answer_is_paid_for_once_and_fails_as_often_as_it_is_wanted(
    tmp_path: Path, reply: Reply, kind: str
):
    spent = []
    with scripted_llm(reply) as llm:
        for _ in range(3):
            async with a_reader(llm, path=tmp_path / "state", llm_attempts=3, **PRICES) as reader:
                with pytest.raises(ReaderFailed, match=f"the reader: {kind}: ") as failed:
                    await reader.answer("How long?", ["D"])
                spent.append(reader.state.spent())

            assert (failed.value.kind, failed.value.is_away) == (kind, False)

    assert len(llm.requests) == 1
    assert len(set(spent)) == 1


async def test_a_failure_that_is_remembered_does_not_say_that_the_reader_is_back():
    with scripted_llm(Reply(text=" "), Reply(status=429)) as llm:
        async with a_reader(llm) as reader:
            for question in ("How long?", "Where?", "How long?"):
                with pytest.raises(ReaderFailed):
                    await reader.answer(question, ["D"])

            assert reader.is_paused


@pytest.mark.parametrize(
    ("reply", "kind", "away"),
    [
        (Reply(status=400), "status_400", False),
        (Reply(status=401), "status_401", True),
        (Reply(status=429), "status_429", True),
        (Reply(status=500), "status_500", False),
    ],
)
async def test_a_call_that_fails_is_told_by_its_kind_and_not_remembered(
    reply: Reply, kind: str, *, away: bool
):
    with scripted_llm(reply, Reply(text="Two years.")) as llm:
        async with a_reader(llm) as reader:
            with pytest.raises(ReaderFailed, match=f"the reader: {kind}: ") as failed:
                await reader.answer("How long?", ["D"])
            paused = reader.is_paused
            written = await reader.answer("How long?", ["D"])

            assert (failed.value.kind, failed.value.is_away) == (kind, away)
            assert paused is (away or kind == "status_500")
            assert written.text == "Two years."
            assert not reader.is_paused


async def test_a_second_reply_that_breaks_in_a_row_is_the_readers_fault():
    with scripted_llm(Reply(status=500)) as llm:
        async with a_reader(llm) as reader:
            for is_away in (False, True):
                with pytest.raises(ReaderFailed) as failed:
                    await reader.answer("How long?", ["D"])
                assert failed.value.is_away is is_away


async def test_the_reader_is_paid_out_of_the_days_money():
    with scripted_llm(Reply(text="Two years.")) as llm:
        async with a_reader(llm, cap=PAID, **PRICES) as reader:
            # 1,024 tokens at 10 a million are set aside, and .0004 is there.
            with pytest.raises(CapReached):
                await reader.answer("How long?", ["D"])
            assert reader.is_paused

    assert llm.requests == []
