from typing import Any

import httpx
import pytest

from rankloop import why
from rankloop.operators import ServiceRefused

AT = "2026-03-01T12:00:00+00:00"
GOOD, BAD, BASE = "aa11" * 16, "bb22" * 16, "ab00" * 16


def model(version: str, run_id: str | None, parent: str | None = None) -> dict[str, Any]:
    return {
        "id": version,
        "line": "default",
        "base": "minilm",
        "parent": parent,
        "run_id": run_id,
        "created_at": AT,
    }


def promotion(
    epoch: int, version: str, action: str, reason: str, *, canary: str | None = None
) -> dict[str, Any]:
    return {
        "canary_version": canary,
        "canary_share": 0.1 if canary else 0.0,
        "line": "default",
        "epoch": epoch,
        "action": action,
        "version": version,
        "actor": "trainer",
        "reason": reason,
        "created_at": AT,
    }


def run(run_id: str, status: str, produced: str | None, **own: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "status": status,
        "produced": produced,
        "n_decisions": 600,
        "skipped": {"not_a_prefix": 7},
        "error": None,
        "started_at": AT,
        "ended_at": AT,
    } | own


def verdict(version: str, kind: str, answer: str, reason: str) -> dict[str, Any]:
    return {
        "version": version,
        "kind": kind,
        "estimator": "delta-beta-IPS",
        "verdict": answer,
        "reason": reason,
        "n": 300,
        "clusters": 250,
    }


NEWEST_FIRST: dict[str, list[dict[str, Any]]] = {
    "models": [model(BAD, "r2", GOOD), model(GOOD, "r1", BASE), model(BASE, None)],
    "promotions": [
        promotion(3, GOOD, "freeze", "the holidays"),
        promotion(2, GOOD, "promote", "gain +0.1"),
        promotion(1, BASE, "init", "the start"),
    ],
    "runs": [run("r2", "rejected", None), run("r1", "promoted", GOOD)],
    "evaluations": [
        verdict(BAD, "offline", "not_enough_evidence", "gain +0.01; with 250 queries"),
        verdict(BAD, "parity", "pass", "ranks 100.0% as torch does"),
        verdict(GOOD, "offline", "pass", "gain +0.1, at least +0.05"),
    ],
}


def ask(what: str | None, *, stored: dict[str, list[dict[str, Any]]] = NEWEST_FIRST) -> why.Why:
    def answer(request: httpx.Request) -> httpx.Response:
        known = request.url.params.get("line", "default") == "default"
        rows = stored[request.url.path.removeprefix("/v1/")] if known else []
        return httpx.Response(200, json={"data": rows})

    transport = httpx.MockTransport(answer)
    with httpx.Client(transport=transport, base_url="http://service") as client:
        return why.ask(client, what, line=None)


def told(what: str | None, **stored: Any) -> str:
    return "\n".join(why.sentences(ask(what, **stored)))


def test_a_version_that_was_promoted_tells_its_evidence_and_by_what_it_was_replaced() -> None:
    good, base = told("aa11"), told("ab")

    assert (
        "aa11aa11aa11 of the family minilm was trained from ab00ab00ab00 on 600 decisions" in good
    )
    assert (
        "- does the log say that it gains? yes: gain +0.1, at least +0.05"
        " (300 decisions, 250 queries; delta-beta-IPS)" in good
    )
    assert "It was promoted as epoch 2" in good
    assert "took its place" not in good
    assert "ab00ab00ab00 of the family minilm is no round's" in base
    assert "aa11aa11aa11 took its place as epoch 2" in base


def test_a_version_that_was_refused_tells_the_verdict_that_stopped_it() -> None:
    text = told(BAD)

    assert "- does the file that serves score as the trained model does? yes" in text
    assert "- does the log say that it gains? not enough evidence: gain +0.01" in text
    assert text.endswith("It never served: gain +0.01; with 250 queries")


def test_a_line_tells_what_serves_what_stops_it_and_what_the_last_round_came_to() -> None:
    text = told("default")

    assert text == told(None)
    assert text.startswith("aa11aa11aa11 ")
    assert ": the holidays" in text
    assert "read 600 decisions and promoted nothing." in text
    assert "It could not learn from 7 not_a_prefix." in text
    assert "It never served: gain +0.01" in text


def test_a_version_that_passed_beside_a_better_one_says_so() -> None:
    runs = [run("r2", "promoted", GOOD)]
    passed = [verdict(BAD, "offline", "pass", "gain +0.02")]

    text = told(BAD, stored=NEWEST_FIRST | {"runs": runs, "evaluations": passed})

    assert "It never served: aa11aa11aa11 of the same round has the higher lower bound" in text


def test_a_canary_tells_what_it_was_given_and_why_it_lost_it() -> None:
    began = promotion(4, GOOD, "canary", "gain +0.02", canary=BAD)
    ended = promotion(5, GOOD, "rollback", "it is worse")
    passed = [verdict(BAD, "offline", "pass", "gain +0.02")]
    stored = NEWEST_FIRST | {"evaluations": passed}

    running = stored | {"promotions": [began, *NEWEST_FIRST["promotions"]]}
    over = stored | {"promotions": [ended, *running["promotions"]]}

    assert "It got 10% of the sessions as epoch 4" in told(BAD, stored=running)
    assert "bb22bb22bb22 of the family" in told("default", stored=running)
    assert "bb22bb22bb22 of the family" not in told("default", stored=over | {"runs": []})
    assert "It lost them as epoch 5" in told(BAD, stored=over)
    assert "never served" not in told(BAD, stored=over)
    assert told(GOOD, stored=over) == told(GOOD, stored=stored)


def test_a_champion_tells_what_those_say_who_are_held_back() -> None:
    better = verdict(GOOD, "hold_back", "pass", "it is better than the base: gain +0.04")
    stored = NEWEST_FIRST | {"evaluations": [better, *NEWEST_FIRST["evaluations"]]}

    assert (
        "- do users say that it gains on what the line began with? yes:"
        " it is better than the base: gain +0.04"
    ) in told(GOOD, stored=stored)


def test_a_canary_that_was_promoted_tells_both() -> None:
    began = promotion(4, GOOD, "canary", "gain +0.02", canary=BAD)
    promoted = promotion(5, BAD, "promote", "it is better")
    stored = NEWEST_FIRST | {"promotions": [promoted, began, *NEWEST_FIRST["promotions"]]}

    text = told(BAD, stored=stored)

    assert "It got 10% of the sessions as epoch 4" in text
    assert "It was promoted as epoch 5" in text
    assert "It lost them" not in text
    assert "bb22bb22bb22 took its place as epoch 5" in told(GOOD, stored=stored)


def test_a_round_that_failed_tells_its_error() -> None:
    failed = [run("r2", "failed", None, error="OutOfMemory: of disk")]

    text = told(None, stored=NEWEST_FIRST | {"runs": failed, "evaluations": []})

    assert "and failed: OutOfMemory: of disk" in text
    assert "It never served: its round failed: OutOfMemory: of disk" in text


@pytest.mark.parametrize(
    ("what", "message"),
    [("a", "2 versions begin with a"), ("cc", "cc is no version, and no line that serves")],
)
def test_what_is_not_one_version_and_no_line_is_refused(what: str, message: str) -> None:
    with pytest.raises(ServiceRefused, match=message):
        ask(what)


def test_json_holds_all_that_the_sentences_are_made_of() -> None:
    found = why.as_json(ask(None))

    assert (found["line"], found["model"]["id"]) == ("default", GOOD)
    assert [story["model"]["id"] for story in found["refused"]] == [BAD]
    assert found["frozen"]["reason"] == "the holidays"
