import json
import threading
from pathlib import Path

import pytest

from rankloop.client.retries import Retries
from tests.scripted_llm import Reply, ScriptedLlm, scripted_llm
from trainer import prompts, reader
from trainer.reader import Answers, Api, Llm, Reader
from trainer.replay import Unanswered

QUICK = Retries(attempts=3, first_s=0.01, longest_s=5.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "answers.jsonl"


def asking(llm: ScriptedLlm, path: Path, *, model: str = "tiny", api: Api = Api.CHAT, **more):
    asked = Llm(client=reader.client(llm.url, key="k"), model=model, api=api, retries=QUICK)
    return Reader(llm=asked, answers=Answers(path, reader=asked.name), **more)


def test_a_chat_model_gets_the_prompt_as_one_message(path):
    with scripted_llm(Reply(text="\n 1907 \nQuestion: more")) as llm:
        assert asking(llm, path).answer("When?") == "1907"

    assert llm.requests == [
        {
            "model": "tiny",
            "max_tokens": reader.MAX_TOKENS,
            "temperature": 0,
            "messages": [{"role": "user", "content": "When?"}],
        }
    ]
    assert llm.headers[0]["Authorization"] == "Bearer k"


def test_a_model_that_completes_is_stopped_at_the_end_of_the_line(path):
    with scripted_llm(Reply(text=" 1907\n")) as llm:
        assert asking(llm, path, api=Api.COMPLETIONS).answer("When?") == "1907"

    (request,) = llm.requests
    assert (request["prompt"], request["stop"]) == ("When?", ["\n"])


def test_the_same_prompt_is_asked_once_also_by_the_next_run(path):
    with scripted_llm(Reply(text="a"), Reply(text="b")) as llm:
        first = asking(llm, path)
        assert (first.answer("x"), first.answer("x")) == ("a", "a")

        again = asking(llm, path)
        assert (again.answer("x"), again.answer("y")) == ("a", "b")

    assert len(llm.requests) == 2
    assert (first.calls, again.calls) == (1, 1)


def test_another_model_is_not_answered_for(path):
    with scripted_llm(Reply(text="a"), Reply(text="b")) as llm:
        asking(llm, path).answer("x")

        assert asking(llm, path, model="other").answer("x") == "b"
        assert asking(llm, path).answer("x") == "a"


def test_half_a_line_of_a_killed_run_is_asked_again_and_spoils_no_other(path):
    path.parent.mkdir()
    whole = {"prompt": prompts.sha256("x"), "answer": "kept"}
    path.write_text(json.dumps(whole) + '\n{"prompt": "ab')

    with scripted_llm(Reply(text="new")) as llm:
        asking(llm, path).answer("y")
        again = asking(llm, path)

    assert (again.answers["x"], again.answers["y"], len(again.answers)) == ("kept", "new", 2)


def test_a_reader_that_is_busy_is_asked_again_not_before_it_said(path):
    busy = Reply(status=429, headers={"retry-after": "0.05"})

    with scripted_llm(busy, busy, Reply(text="a")) as llm:
        assert asking(llm, path).answer("x") == "a"

    assert len(llm.requests) == 3


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(status=429, headers={"retry-after": "3600"}), "status 429"),
        (Reply(status=400, body=b"too long"), "status 400: too long"),
        (Reply(body=b"[]"), "no completion"),
    ],
)
def test_what_does_not_help_is_not_tried_again(path, reply, told):
    with scripted_llm(reply) as llm, pytest.raises(Unanswered, match=told):
        asking(llm, path).answer("x")

    assert len(llm.requests) == 1
    assert not path.exists()


def test_a_reader_that_is_away_gives_no_answer(path):
    with scripted_llm(Reply()) as llm:
        away = asking(llm, path)

    with pytest.raises(Unanswered, match="ConnectError"):
        away.answer("x")


def test_many_are_asked_at_once_and_no_more_than_allowed(path):
    waiting, most, lock = 0, 0, threading.Lock()
    two = threading.Barrier(2, timeout=10)

    def think(prompt):
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        two.wait()
        with lock:
            waiting -= 1
        return prompt.upper()

    with scripted_llm(think=think) as llm:
        asked = asking(llm, path, at_once=2)
        told: list[int] = []
        asked.ask_all([["a"], ["b"], ["c"], ["d"]], on_answer=lambda: told.append(1))

    assert most == 2
    assert [asked.answers[prompt] for prompt in "abcd"] == ["A", "B", "C", "D"]
    assert len(told) == 4


def test_prompts_that_begin_alike_are_asked_one_after_another(path):
    with scripted_llm(think=str.upper) as llm:
        asking(llm, path).ask_all([["a1", "a2", "a1"], ["b1", "a2"]])

    assert [request["messages"][0]["content"] for request in llm.requests] == ["a1", "a2", "b1"]


def test_one_that_gets_no_answer_ends_the_run_and_the_others_are_kept(path):
    with scripted_llm(Reply(text="a"), Reply(status=400)) as llm:
        asked = asking(llm, path)
        with pytest.raises(Unanswered):
            asked.ask_all([["x"], ["y"], ["z"]])

    assert asking(llm, path).missing([["x", "y", "z"]]) == [["y", "z"]]


def test_a_run_may_cost_so_many_calls_and_the_next_one_goes_on(path):
    with scripted_llm(think=str.upper) as llm:
        with pytest.raises(Unanswered, match="the 2 calls"):
            asking(llm, path, max_calls=2).ask_all([["a"], ["b"], ["c"]])
        further = asking(llm, path, max_calls=2)
        further.ask_all([["a"], ["b"], ["c"]])

    assert (further.calls, len(further.answers)) == (1, 3)
