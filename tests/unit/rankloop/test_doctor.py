"""The doctor over a scripted service: what it says for what it counts."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from rich.console import Console

from rankloop.doctor import Severity, examine, show

FLOW: dict[str, Any] = {
    "within_s": 86_400.0,
    "decisions": 214,
    "explored": 20,
    "not_learnable": {},
    "with_scores": 214,
    "queries": 200,
    "answered": 200,
    "answered_with_text": 200,
    "answered_with_citations": 150,
    "not_a_prefix": 0,
    "spoken_of": 150,
    "rewarded": 150,
    "learnable": 140,
    "oldest_age_s": 86_400.0,
}
READY = {"status": "ready", "degraded": []}
RANKED = {"meta": {"version": "a" * 64, "epoch": 3, "logged": True}}


def examined(
    ready: dict[str, Any] = READY, runs: Sequence[dict[str, Any]] = (), **changes: Any
) -> dict[Severity, list[str]]:
    """What is said, by how bad it is."""
    bodies = {
        "/readyz": ready,
        "/v1/rerank": RANKED,
        "/v1/flow": FLOW | changes,
        "/v1/runs": {"data": runs},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=bodies.get(request.url.path, {"data": []}))

    with httpx.Client(base_url="http://loop", transport=httpx.MockTransport(answer)) as client:
        findings = examine(client, line=None, within_s=86_400)
    return {each: [found.seen for found in findings if found.severity is each] for each in Severity}


def test_a_loop_that_learns_is_fine():
    said = examined()

    assert said[Severity.BROKEN] == said[Severity.SLOW] == []
    # 500 rewards at 150 a day.
    assert "feedback on 75% of answers: 3 days to a verdict at this rate" in said[Severity.FINE]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"decisions": 0, "answered": 0, "spoken_of": 0, "rewarded": 0}, "no decision in 1 day"),
        ({"answered": 0, "spoken_of": 0}, "214 decisions, 0 answers: nothing posts /answer"),
        (
            {"not_learnable": {"explore_never": 214}},
            "214 decisions, none can be learned from: 214 explore_never",
        ),
        ({"not_a_prefix": 200}, "used is never a prefix: the app re-sorts by its own score"),
        (
            {"spoken_of": 0, "answered_with_text": 0},
            "200 answers, none with its text: no judge can read them",
        ),
        ({"spoken_of": 0}, "200 answers, and nobody says how good they were"),
    ],
)
def test_what_stops_learning_is_said_first(changes: dict[str, Any], seen: str):
    assert examined(**changes)[Severity.BROKEN] == [seen]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        (
            {"spoken_of": 6},
            "feedback on 3% of answers: 83 days to a verdict at this rate",  # 500 / 6 a day
        ),
        ({"answered": 50, "spoken_of": 50}, "only 23% of decisions have an answer"),
        ({"not_a_prefix": 50}, "25% of answers used no prefix of what was shown"),
        ({"with_scores": 0}, "documents come without the first stage's scores"),
        ({"answered_with_citations": 0}, "no answer says what it cites"),
        ({"queries": 7}, "only 7 distinct queries"),
    ],
)
def test_what_slows_learning_is_said(changes: dict[str, Any], seen: str):
    assert seen in examined(**changes)[Severity.SLOW]


def a_run(status: str, **config: float) -> dict[str, Any]:
    return {"status": status, "config": config}


GROWING = {"trainer_round_min_rewards": 100, "trainer_round_growth": 3.0, "trainer_replay": 20_000}


@pytest.mark.parametrize(
    ("runs", "days"),
    [
        ([], "3 days"),  # 500 of a first round, at 150 a day
        ([a_run("failed", **GROWING)], "16 hours"),  # 100, and nothing was decided
        ([a_run("promoted", **GROWING), a_run("failed", **GROWING)], "2 days"),  # 3 x 100
        ([a_run("rejected", **GROWING)] * 2, "6 days"),  # 3 x 3 x 100
        ([a_run("rejected", **GROWING)] * 9, "133 days"),  # 20,000 is the most
    ],
)
def test_each_round_waits_for_more_than_the_one_before(runs: list[dict[str, Any]], days: str):
    said = examined(runs=runs)

    everything = [seen for findings in said.values() for seen in findings]
    assert f"feedback on 75% of answers: {days} to a verdict at this rate" in everything


def test_without_a_model_nothing_else_is_asked():
    said = examined(ready={"status": "no_model", "degraded": []})

    assert said[Severity.BROKEN] == ["the service has no model yet"]
    assert said[Severity.FINE] == []


def test_a_neighbour_that_is_away_is_named():
    said = examined(ready={"status": "ready", "degraded": ["redis"]})

    assert said[Severity.SLOW] == ["redis does not keep up, or does not answer"]


def test_every_finding_but_the_fine_comes_with_a_remedy():
    console = Console(record=True, width=200)

    def answer(request: httpx.Request) -> httpx.Response:
        bodies = {"/readyz": READY, "/v1/rerank": RANKED, "/v1/flow": FLOW | {"answered": 0}}
        return httpx.Response(200, text=json.dumps(bodies.get(request.url.path, {"data": []})))

    with httpx.Client(base_url="http://loop", transport=httpx.MockTransport(answer)) as client:
        show(console, examine(client, line=None, within_s=86_400))

    lines = console.export_text().splitlines()
    assert lines[0].startswith("x 214 decisions, 0 answers")
    assert "add the callback" in lines[1]
