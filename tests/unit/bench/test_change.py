from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.learning.arms import Arm
from bench.learning.cells import Cell, Done
from bench.learning.change import FROM_START, Changing, behind, careful
from bench.learning.loop import Loop, Played, Serving
from bench.learning.worlds import Noise, Question, World
from contract.records import Candidate


class Champion:
    """It knows nothing: every order is as good."""

    version = "start"
    precision = "float32"
    temperature = 1.0

    def logits(self, query, candidates):
        return np.zeros(len(candidates))


def world(*worth, questions=4):
    """Questions whose documents are worth so much; no reward is missing or flipped."""
    asked = tuple(
        Question(
            id=str(number),
            query=f"question {number}",
            candidates=tuple(Candidate(text=f"text {at}") for at in range(len(worth))),
            worth=worth,
            gold=frozenset(),
            cluster=str(number),
        )
        for number in range(questions)
    )
    return World(
        name="small",
        train=asked,
        held_out=asked,
        used=1,
        discounted=False,
        noise=Noise(missing=0.0, flipped=0.0),
    )


NOTHING: Any = None
"""No round is due: nothing is trained."""
CHAMPION: Any = Champion()
SHARED: Any = {"arm": Arm(), "studio": NOTHING, "seed": 1, "champion": CHAMPION}


def played(arm, seed, *values):
    """Two questions, as served at the start and from 4,500 events on."""
    served = [
        Serving(version=str(since), since=since, round=0, values=np.array(each))
        for since, each in zip((0, 4_500), values, strict=False)
    ]
    return Done(
        cell=Cell(world="handbook", arm=arm, seed=seed, events=6_000),
        played=Played(served=served, rounds=[]),
    )


def test_from_the_change_on_the_other_world_answers_the_same_questions():
    steady = Loop(world=world(0.25), **SHARED)
    swapped = Changing(world=world(0.25), then=world(0.75), since=6, **SHARED)

    for loop in (steady, swapped):
        assert list(loop.events(10)) == []  # no round is due
    plain, changed = steady.log, swapped.log

    assert [each.reward for each in plain] == [0.25] * 10
    assert [each.reward for each in changed] == [0.25] * 6 + [0.75] * 4
    assert [each.decision.query for each in plain] == [each.decision.query for each in changed]


def test_a_careful_reader_passes_over_what_would_answer_wrongly():
    asked = world(0.0, 1.0, None)
    both = replace(asked, used=2)

    assert careful(asked).train[0].worth == (None, 1.0, None)
    assert both.outcome(both.train[0], [0, 1]).reward == 0.0
    assert careful(both).outcome(careful(both).train[0], [0, 1]).reward == 1.0


def test_how_far_a_changed_run_is_behind_is_paired_by_question_and_seed():
    runs = [
        played(FROM_START, 1, [1.0, 0.5]),
        played(FROM_START, 2, [1.0, 0.5]),
        played("reader", 1, [0.0, 0.5], [1.0, 0.5]),
        played("reader", 2, [0.0, 0.5], [0.0, 0.5]),
    ]

    at_once, *_, last = behind(runs, clusters=[0, 1], since=4_000)

    # (1 - 0 + 0) / 2 at once; then only the second seed still lacks 1 of one question.
    assert (at_once["events_after"], at_once["behind"]) == (0, 0.5)
    assert (last["events_after"], last["behind"]) == (2_000, 0.25)
    assert last["of_each_seed"] == [0.0, 0.5]
    assert (last["from_start"], last["value"]) == (0.75, 0.5)


def test_a_seed_without_its_run_from_the_start_does_not_count():
    runs = [
        played(FROM_START, 1, [1.0, 1.0]),
        played("retriever", 1, [0.5, 1.0]),
        played("retriever", 2, [0.0, 0.0]),
    ]

    assert next(behind(runs, clusters=[0, 1], since=4_000))["behind"] == pytest.approx(0.25)
