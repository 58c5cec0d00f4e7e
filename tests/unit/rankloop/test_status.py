import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from rankloop.operators import Overview
from rankloop.status import as_json, show

AT = "2026-03-01T12:00:00+00:00"


def promotion(epoch: int, version: str, action: str = "promote") -> dict[str, Any]:
    return {
        "canary_version": None,
        "canary_share": 0.0,
        "hold_back_version": None,
        "hold_back_share": 0.0,
        "line": "default",
        "epoch": epoch,
        "action": action,
        "version": version,
        "actor": "trainer",
        "reason": "better by far",
        "created_at": AT,
    }


def evaluation(verdict: str, kind: str = "offline") -> dict[str, Any]:
    return {
        "version": "v3",
        "kind": kind,
        "verdict": verdict,
        "estimate": 0.01,
        "low": -0.02,
        "high": None,
        "clusters": 90,
        "reason": "too few queries",
    }


RUN = {
    "started_at": AT,
    "status": "promoted",
    "n_decisions": 600,
    "produced": "v2",
    "error": None,
}
OVERVIEW = Overview(
    models=[{}, {}],
    promotions=[promotion(2, "0123456789abcdef"), promotion(1, "v1", action="init")],
    runs=[RUN],
    evaluations=[evaluation("not_enough_evidence"), evaluation("pass")],
)


def shown(overview: Overview) -> str:
    text = io.StringIO()
    show(Console(file=text, width=160), overview)
    return text.getvalue()


def test_what_is_served_comes_first() -> None:
    first, second, *_ = shown(OVERVIEW).splitlines()

    assert first.startswith("line default serves 0123456789ab as epoch 2 since ")
    assert second == (
        "2 models, 1 promoted, 0 rolled back, 1 runs, 1 refused, 600 decisions learned from"
    )


def test_verdicts_come_with_their_evidence_and_reason() -> None:
    (row,) = (line for line in shown(OVERVIEW).splitlines() if "not_enough_evidence" in line)

    for part in ("v3", "+0.010", "-0.020 to ?", "90", "too few queries"):
        assert part in row


def test_a_frozen_line_says_so_until_it_goes_on() -> None:
    frozen = Overview(
        models=[],
        promotions=[promotion(4, "v1", action="rollback"), promotion(3, "v2", action="freeze")],
        runs=[],
        evaluations=[],
    )
    promotions = [promotion(5, "v1", action="unfreeze"), *frozen.promotions]
    gone_on = Overview(models=[], promotions=promotions, runs=[], evaluations=[])

    assert "frozen, no training: better by far" in shown(frozen)
    assert "frozen, no training" not in shown(gone_on)


def test_a_line_without_a_model_serves_nothing() -> None:
    nothing = Overview(models=[], promotions=[], runs=[], evaluations=[])

    assert shown(nothing) == "nothing is served yet\n"
    assert as_json(nothing)["live"] is None


def test_json_says_all_that_the_tables_say() -> None:
    document = as_json(OVERVIEW)

    assert document["live"]["epoch"] == 2
    assert document["counts"]["refused"] == 1
    assert document["evaluations"][0]["reason"] == "too few queries"


def test_a_canary_is_told_with_its_share() -> None:
    canary = promotion(3, "v1", "canary") | {"canary_version": "abcdef" * 9, "canary_share": 0.1}
    overview = Overview(models=[], promotions=[canary], runs=[], evaluations=[])

    text = shown(overview)

    assert "its canary abcdefabcdef answers 10%" in text
    assert "v1 + 10% abcdefabcdef" in text


def test_a_hold_back_is_told_with_what_is_known_of_this_champion() -> None:
    held = {"hold_back_version": "abcdef" * 9, "hold_back_share": 0.005}
    known = evaluation("pass", "hold_back") | {"version": "v2", "reason": "better by .04"}
    earlier = known | {"version": "v1", "reason": "better by .01"}
    before = Overview(
        models=[], promotions=[promotion(3, "v2") | held], runs=[], evaluations=[earlier]
    )
    after = replace(before, evaluations=[known, earlier])

    assert "0.5% are held back for the base abcdefabcdef: nothing is known yet" in shown(before)
    assert "0.5% are held back for the base abcdefabcdef: better by .04" in shown(after)


def test_a_base_that_is_the_champion_holds_back_nobody_yet() -> None:
    held = {"hold_back_version": "v1", "hold_back_share": 0.02}
    alone = Overview(models=[], promotions=[promotion(2, "v1") | held], runs=[], evaluations=[])

    assert "2% will be held back: the base serves everybody yet" in shown(alone)


@pytest.mark.parametrize("kind", ["canary", "hold_back"])
def test_what_nobody_judged_yet_is_not_counted_as_refused(kind: str) -> None:
    waiting = evaluation("not_enough_evidence", kind)

    counts = Overview(models=[], promotions=[], runs=[], evaluations=[waiting]).counts

    assert counts["refused"] == 0
