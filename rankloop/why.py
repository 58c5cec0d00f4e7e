"""Why a version serves, served or never did: its round, the gate's verdicts and what became of it, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import httpx

from rankloop.operators import Overview, Row, ServiceRefused, overview

MANY: Final = 1000
"""Rows of each list: as many as the service gives."""
SHOWN: Final = 12
"""Characters of a version."""

QUESTIONS: Final = {
    "parity": "does the file that serves score as the trained model does?",
    "golden": "does it still rank the golden set?",
    "replay": "does the reader answer better from its documents?",
    "offline": "does the log say that it gains?",
    "canary": "do its users say that it gains?",
    "hold_back": "do users say that it gains on what the line began with?",
}
ANSWERS: Final = {
    "pass": "yes",
    "refuse": "no",
    "not_enough_evidence": "not enough evidence",
}
DONE: Final = {
    "init": "began the line",
    "promote": "was promoted",
    "rollback": "was served again by a rollback",
    "rebuild": "was served again to be learned from anew",
    "canary": "stayed beside a canary",
}
NOTHING: Final[Row] = {"version": None, "canary_version": None}
"""What a line serves before its first epoch."""


OUTCOMES: Final = {
    "promoted": "promoted its best candidate",
    "canary": "made its best candidate a canary",
    "rejected": "promoted nothing",
    "failed": "failed",
    "nothing_to_learn": "found nothing to learn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known of one version, everything oldest first."""

    model: Row
    run: Row | None
    """The round that made it."""
    verdicts: Sequence[Row]
    """Of that version, of all rounds."""
    began: Sequence[Row]
    """The epochs in which it was put in place."""
    ended: Sequence[Row]
    """The epochs that put another version in its place."""
    tried: Sequence[Row]
    """The epochs that gave it a share of the sessions as a canary, or took it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The answer: one version's story, and where a line was asked about, its last round too."""

    line: str
    story: Story
    canary: Story | None = None
    """What answers a share of the sessions beside it, if a line was asked about."""
    frozen: Row | None = None
    """Why the line's trainer stands still."""
    last_run: Row | None = None
    """The last round that ended, if a line was asked about."""
    refused: Sequence[Story] = ()
    """What that round made and did not promote."""


def ask(client: httpx.Client, what: str | None, *, line: str | None) -> Why:
    """what: a version or the beginning of one, a line, or nothing: the service's own line.

    Raises `ServiceAway` and `ServiceRefused`.
    """
    known = overview(client, line=line, limit=MANY)
    if what is None:
        return _of_line(known, line or "default")
    found = [row for row in known.models if row["id"].startswith(what)]
    if len(found) > 1:
        raise ServiceRefused(f"{len(found)} versions begin with {what}")
    if found:
        return Why(line=found[0]["line"], story=_story(known, found[0]))
    return _of_line(overview(client, line=what, limit=MANY), what)


def sentences(why: Why) -> Iterator[str]:
    """The answer in words."""
    yield from _told(why.story)
    if why.canary is not None:
        yield from _told(why.canary)
    if why.frozen is not None:
        yield f"The line is frozen since {_time(why.frozen['created_at'])}: {why.frozen['reason']}"
    if why.last_run is not None:
        yield from _round(why.last_run)
    for story in why.refused:
        yield from _told(story)


def as_json(why: Why) -> dict[str, Any]:
    """All that the sentences are made of."""
    return {
        "line": why.line,
        **_as_json(why.story),
        "canary": None if why.canary is None else _as_json(why.canary),
        "frozen": why.frozen,
        "last_run": why.last_run,
        "refused": [_as_json(story) for story in why.refused],
    }


def _of_line(known: Overview, line: str) -> Why:
    if known.live is None:
        raise ServiceRefused(f"{line} is no version, and no line that serves anything")
    serving, canary = _model(known, known.live["version"]), known.live["canary_version"]
    ended = next((run for run in known.runs if run["ended_at"] is not None), None)
    refused = [
        _story(known, model)
        for model in known.models
        if ended is not None
        and model["run_id"] == ended["run_id"]
        and model["id"] != ended["produced"]
    ]
    return Why(
        line=known.live["line"],
        story=_story(known, serving),
        canary=None if canary is None else _story(known, _model(known, canary)),
        frozen=known.frozen,
        last_run=ended,
        refused=refused,
    )


def _model(known: Overview, version: str) -> Row:
    """What there is to say of a version that lies beyond the list."""
    unlisted = {"id": version, "base": "?", "parent": None, "run_id": None, "created_at": None}
    return next((row for row in known.models if row["id"] == version), unlisted)


def _story(known: Overview, model: Row) -> Story:
    version = model["id"]
    # A freeze is an epoch too, of the versions that serve already.
    changes = [row for row in reversed(known.promotions) if row["action"] in DONE]
    steps = list(pairwise([NOTHING, *changes]))
    began = [later for earlier, later in steps if earlier["version"] != version == later["version"]]
    ended = [later for earlier, later in steps if earlier["version"] == version != later["version"]]
    tried = [
        later
        for earlier, later in steps
        if version in {earlier["canary_version"], later["canary_version"]}
        and version != later["version"]
    ]
    return Story(
        model=model,
        run=next((run for run in known.runs if run["run_id"] == model["run_id"]), None),
        verdicts=[row for row in reversed(known.evaluations) if row["version"] == version],
        began=began,
        ended=ended,
        tried=tried,
    )


def _told(story: Story) -> Iterator[str]:
    yield _born(story)
    for verdict in story.verdicts:
        yield _verdict(verdict)
    yield from _fate(story)


def _born(story: Story) -> str:
    model, run = story.model, story.run
    name = f"{model['id'][:SHOWN]} of the family {model['base']}"
    if model["run_id"] is None:
        return f"{name} is no round's: it was registered as it is."
    made = f"{name} was trained from {(model['parent'] or '?')[:SHOWN]}"
    if run is None:
        return f"{made} in round {model['run_id']}."
    return f"{made} on {run['n_decisions'] or 0} decisions, in the round of {_time(run['started_at'])}."


def _verdict(verdict: Row) -> str:
    question = QUESTIONS.get(verdict["kind"], verdict["kind"])
    answer = ANSWERS.get(verdict["verdict"], verdict["verdict"])
    counted = [
        f"{verdict[name]} {words}"
        for name, words in (("n", "decisions"), ("clusters", "queries"))
        if verdict["kind"] in {"offline", "replay"} and verdict[name] is not None
    ]
    evidence = f" ({', '.join(counted)}; {verdict['estimator']})" if counted else ""
    return f"- {question} {answer}: {verdict['reason']}{evidence}"


def _fate(story: Story) -> Iterator[str]:
    for row in story.tried:
        is_canary = row["canary_version"] == story.model["id"]
        what = f"It got {row['canary_share']:.0%} of the sessions" if is_canary else "It lost them"
        yield f"{what} {_epoch(row)}"
    for row in story.began:
        yield f"It {DONE[row['action']]} {_epoch(row)}"
    for row in story.ended:
        yield f"{row['version'][:SHOWN]} took its place {_epoch(row)}"
    if not story.began and not story.tried:
        yield f"It never served: {_never(story)}"


def _never(story: Story) -> str:
    """The first verdict that is no pass, else who was preferred."""
    refusal = next((row for row in story.verdicts if row["verdict"] != "pass"), None)
    if refusal is not None:
        return str(refusal["reason"])
    run = story.run
    if run is not None and run["error"] is not None:
        return f"its round failed: {run['error']}"
    if run is not None and run["produced"] is not None:
        return f"{run['produced'][:SHOWN]} of the same round has the higher lower bound"
    return "nobody has judged it" if not story.verdicts else "it passed, and nothing was published"


def _round(run: Row) -> Iterator[str]:
    outcome = OUTCOMES.get(run["status"], run["status"])
    error = f": {run['error']}" if run["error"] else "."
    yield (
        f"The last round, of {_time(run['started_at'])}, read {run['n_decisions'] or 0} decisions"
        f" and {outcome}{error}"
    )
    left_out = ", ".join(f"{number} {reason}" for reason, number in run["skipped"].items())
    if left_out:
        yield f"It could not learn from {left_out}."


def _as_json(story: Story) -> dict[str, Any]:
    return {name: getattr(story, name) for name in Story.__slots__}


def _epoch(row: Row) -> str:
    at = _time(row["created_at"])
    return f"as epoch {row['epoch']} at {at} by {row['actor']}: {row['reason']}"


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
