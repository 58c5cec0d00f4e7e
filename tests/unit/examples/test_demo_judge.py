import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from examples.demo import judge
from examples.demo.application import Answered
from examples.demo.worlds import Ask, World
from judge.case import Case
from judge.prompt import messages
from judge.rubric import Rubric

ASKS = tuple(
    Ask(
        id=str(number),
        text=f"What is the answer to {number}?",
        documents=(),
        gold=frozenset(),
        answers=(f"right {number}",),
        cluster=str(number),
        group="all",
    )
    for number in range(300)
)
WORLD = World(
    name="numbers",
    train=ASKS[:150],
    held_out=ASKS[150:],
    read=lambda _, __: "",
    grade=lambda ask, _, answer: float(answer in ask.answers),
)


def answered(ask: Ask, answer: str) -> Answered:
    return Answered(
        ask=ask,
        decision_id=ask.id,
        version="v",
        used=("One.", "Two."),
        answer=answer,
        quality=WORLD.grade(ask, [], answer),
    )


def test_it_says_the_truth_but_where_it_is_wrong() -> None:
    rubric = Rubric.named("answer_quality")
    with judge.running(WORLD) as url:
        for number, answer in enumerate(["right 0", "wrong", "right 2"]):
            case = Case(query=ASKS[number].text, documents=["D"], answer=answer)
            chat = messages(rubric, case, presentation=(0,))
            reply = httpx.post(
                f"{url}/chat/completions", json={"model": "m", "messages": chat}
            ).json()
            said = json.loads(reply["choices"][0]["message"]["content"])

            truth = float(answer != "wrong")
            wrong = judge.is_wrong(ASKS[number].text, answer)
            assert said["score"] == (1 - truth if wrong else truth)


def test_a_tenth_of_its_verdicts_is_wrong() -> None:
    wrong = sum(judge.is_wrong(f"question {n}", "answer") for n in range(10_000))

    # A tenth of 10,000, within four standard deviations of 30.
    assert 880 < wrong < 1120


def test_calibration_recovers_how_often_it_is_wrong(tmp_path: Path) -> None:
    answers = [answered(ask, f"right {ask.id}") for ask in ASKS[:200]]
    answers += [answered(ask, "wrong") for ask in ASKS[200:]]

    with judge.running(WORLD) as url:
        found = judge.calibrated(answers, url=url, folder=tmp_path)

    assert (found["n"], found["errors"], found["wrong"]) == (300, 0, 0.1)
    for name in ("true_positive_rate", "true_negative_rate"):
        assert found[name]["low"] <= 1 - judge.WRONG <= found[name]["high"]


def test_a_calibration_that_fails_says_why(tmp_path: Path) -> None:
    empty = replace(answered(ASKS[0], "x"), answer="")

    with pytest.raises(judge.CalibrationFailed, match="answer"):
        judge.calibrated([empty], url="http://127.0.0.1:9/v1", folder=tmp_path)
