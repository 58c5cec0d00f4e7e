"""What keeps a live loop from learning, seen as an app sees it, and the cheapest remedy.

Each finding says what was counted, what it means and what to do. The first that bites hides those behind it: without
answers there is nothing to say of feedback.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

import httpx
from rich.console import Console

from rankloop.operators import Row, ask

PROBE: Final = {
    "query": "Does the reranker answer?",
    "documents": ["It answers.", "It does not."],
    "explore": "never",
    "tags": {"by": "rankloop doctor"},
}
NEEDED_REWARDS: Final = 500
"""Of a first round, where no round has said how many it waited for."""
RUNS_READ: Final = 100
"""Newest first: as many as count, and some that failed between them."""
FEW_ANSWERS: Final = 0.5
NO_MODEL: Final = (
    "start the trainer: it registers the starting model (or run python -m trainer.register)"
)
NOT_LOGGED: Final = (
    "RANKLOOP_SERVICE_LOG_TEXT is off, or Postgres is away and the queue is full: see /readyz"
)
SEE_READYZ: Final = "requests are answered meanwhile; GET /readyz and the service's log say more"
NO_DECISIONS: Final = "point the app's reranker URL here; any path of docs/api.md will do"
UNSUPPORTED: Final = (
    "set RANKLOOP_SERVICE_EPSILON above 0, and send no `explore: never`; see docs/learning.md"
)
NO_ANSWERS: Final = (
    "add the callback (docs/integrations.md), or POST /v1/decisions/{id}/answer, or /v1/traces"
)
RESORTED: Final = "use the results in the order in which they come, or send their relevance_score through unchanged"
NO_TEXT: Final = "send the answer's text with it, or post feedback of your own"
NO_FEEDBACK: Final = (
    "run the judge (python -m judge; docs/operations.md), or post feedback: a thumb is enough"
)
NO_REWARDS: Final = (
    "is the trainer running? It derives a reward a quarter of an hour after the decision"
)
FEW_ANSWERED: Final = (
    "the others teach nothing: post an answer for each, also where the LLM declined"
)
NO_SCORES: Final = "send each document's retrieval score as `score`: it is an input of the model"
NO_CITATIONS: Final = (
    "ask the LLM to cite, and send `citations`: the gate is then sure with fewer answers"
)
FEW_DISTINCT: Final = "a verdict needs 100; ask more widely, or wait"
MORE_FEEDBACK: Final = "let the judge read more answers (RANKLOOP_JUDGE_), or ask users for a thumb"
FEW_QUERIES: Final = 100
"""Below it no gate is sure of anything."""
LONG_DAYS: Final = 7.0
MANY_ROUNDS: Final = 64
"""As the trainer has it: no round waits for more than the one after so many."""
DAY_S: Final = 86_400.0


class Severity(StrEnum):
    """How bad it is."""

    BROKEN = "broken"
    """Nothing is answered, or nothing can be learned."""
    SLOW = "slow"
    """It learns less than it could."""
    FINE = "fine"


MARKS: Final = {Severity.BROKEN: "x", Severity.SLOW: "!", Severity.FINE: "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was seen."""

    severity: Severity
    seen: str
    remedy: str = ""


def examine(client: httpx.Client, *, line: str | None, within_s: float) -> list[Finding]:
    """Everything worth saying, worst first.  Raises `ServiceAway`, `ServiceRefused`."""
    ready = ask(client, "GET", "/readyz", refusals=False)
    if ready["status"] != "ready":
        return [_broken("the service has no model yet", NO_MODEL)]
    ranked = ask(client, "POST", "/v1/rerank", json=PROBE)
    named = {} if line is None else {"line": line}
    flow = ask(client, "GET", "/v1/flow", params=named | {"within_s": str(within_s)})
    runs = ask(client, "GET", "/v1/runs", params=named | {"limit": str(RUNS_READ)})["data"]
    verdicts = ask(client, "GET", "/v1/evaluations", params=named | {"limit": "1"})["data"]
    findings = [
        *_stands(ready, ranked),
        *_lost(flow),
        *_thin(flow),
        *_pace(flow, needed=_needed(runs)),
        *_verdict(verdicts),
    ]
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def show(console: Console, findings: Sequence[Finding]) -> None:
    """One line for what was seen, one for what to do."""
    for finding in findings:
        console.print(f"{MARKS[finding.severity]} {finding.seen}")
        if finding.remedy:
            console.print(f"  {finding.remedy}")


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [asdict(finding) for finding in findings]


def _stands(ready: Row, ranked: Row) -> Iterator[Finding]:
    meta = ranked["meta"]
    yield _fine(f"it ranks, with version {meta['version'][:12]} of epoch {meta['epoch']}")
    if not meta["logged"]:
        yield _broken("answers are not logged", NOT_LOGGED)
    for neighbour in ready["degraded"]:
        yield _slow(f"{neighbour} does not keep up, or does not answer", SEE_READYZ)


def _lost(flow: Row) -> Iterator[Finding]:
    """Where decisions end that could have been learned from; each hides those behind it."""
    decisions, answered = flow["decisions"], flow["answered"]
    unsupported = sum(flow["not_learnable"].values())
    if not decisions:
        yield _broken(f"no decision in {_days(flow['within_s'])}", NO_DECISIONS)
    elif unsupported == decisions:
        reasons = ", ".join(f"{count} {name}" for name, count in flow["not_learnable"].items())
        yield _broken(
            f"{_n(decisions, 'decision')}, none can be learned from: {reasons}", UNSUPPORTED
        )
    elif not answered:
        yield _broken(f"{_n(decisions, 'decision')}, 0 answers: nothing posts /answer", NO_ANSWERS)
    elif flow["not_a_prefix"] == answered:
        yield _broken("used is never a prefix: the app re-sorts by its own score", RESORTED)
    elif not flow["answered_with_text"] and not flow["spoken_of"]:
        yield _broken(
            f"{_n(answered, 'answer')}, none with its text: no judge can read them", NO_TEXT
        )
    elif not flow["spoken_of"]:
        yield _broken(f"{_n(answered, 'answer')}, and nobody says how good they were", NO_FEEDBACK)
    elif not flow["rewarded"]:
        yield _slow(f"{_n(flow['spoken_of'], 'decision')} with feedback, 0 rewards yet", NO_REWARDS)


def _thin(flow: Row) -> Iterator[Finding]:
    """What is there, and less of it than could be."""
    decisions, answered = flow["decisions"], flow["answered"]
    if 0 < answered < FEW_ANSWERS * decisions:
        yield _slow(f"only {answered / decisions:.0%} of decisions have an answer", FEW_ANSWERED)
    if 0 < flow["not_a_prefix"] < answered:
        yield _slow(
            f"{flow['not_a_prefix'] / answered:.0%} of answers used no prefix of what was shown",
            RESORTED,
        )
    if decisions > 0 and not flow["with_scores"]:
        yield _slow("documents come without the first stage's scores", NO_SCORES)
    if answered and not flow["answered_with_citations"]:
        yield _slow("no answer says what it cites", NO_CITATIONS)
    if flow["rewarded"] and flow["queries"] < FEW_QUERIES:
        yield _slow(f"only {flow['queries']} distinct queries", FEW_DISTINCT)


def _pace(flow: Row, *, needed: float) -> Iterator[Finding]:
    """How long a round takes to fill."""
    if not flow["spoken_of"] or not flow["answered"] or not flow["oldest_age_s"]:
        return
    a_day = DAY_S * flow["spoken_of"] / max(flow["oldest_age_s"], 1.0)
    days, share = needed / a_day, flow["spoken_of"] / flow["answered"]
    seen = f"feedback on {share:.0%} of answers: {_duration(days)} to a verdict at this rate"
    yield _slow(seen, MORE_FEEDBACK) if days > LONG_DAYS else _fine(seen)


def _verdict(verdicts: Sequence[Row]) -> Iterator[Finding]:
    for row in verdicts:
        yield _fine(f"the last verdict: {row['verdict']}, {row['reason']}")


def _needed(runs: Sequence[Row]) -> float:
    """Rewards that the next round waits for, as the trainer counts: more after each round that came to a verdict.

    runs: newest first.
    """
    config: Row = runs[0]["config"] if runs else {}
    first = config.get("trainer_round_min_rewards", NEEDED_REWARDS)
    growth = config.get("trainer_round_growth", 1.0)
    decided = sum(run["status"] != "failed" for run in runs)
    wanted = first * growth ** min(decided, MANY_ROUNDS)
    return float(min(wanted, config.get("trainer_replay", math.inf)))


def _broken(seen: str, remedy: str) -> Finding:
    return Finding(severity=Severity.BROKEN, seen=seen, remedy=remedy)


def _slow(seen: str, remedy: str) -> Finding:
    return Finding(severity=Severity.SLOW, seen=seen, remedy=remedy)


def _fine(seen: str) -> Finding:
    return Finding(severity=Severity.FINE, seen=seen)


def _n(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def _days(seconds: float) -> str:
    return _duration(seconds / DAY_S)


def _duration(days: float) -> str:
    if days >= 1:
        return _n(round(days), "day")
    hours = days * 24
    return _n(round(hours), "hour") if hours >= 1 else _n(max(1, round(hours * 60)), "minute")
