"""What an operator asks of a running service, over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import httpx

TIMEOUT_S: Final = 10.0

BY_USERS: Final = frozenset({"canary", "hold_back"})
"""Verdicts that what users say leads to, now one and now another."""

Row: TypeAlias = Mapping[str, Any]


class ServiceRefused(Exception):
    """The service understood and said no; the message is its own."""


class ServiceAway(Exception):
    """Nobody answers at this address, or somebody who is no Rankloop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One line at one moment, everything newest first."""

    models: list[Row]
    promotions: list[Row]
    runs: list[Row]
    evaluations: list[Row]

    @property
    def live(self) -> Row | None:
        """The promotion that says what is served."""
        return self.promotions[0] if self.promotions else None

    @property
    def frozen(self) -> Row | None:
        """The promotion that stopped the trainer, while it is stopped, as far as the list goes back."""
        changes = [row for row in self.promotions if row["action"] in {"freeze", "unfreeze"}]
        return changes[0] if changes and changes[0]["action"] == "freeze" else None

    @property
    def held_back(self) -> Row | None:
        """What is known of the champion beside the base, as far as the list goes back."""
        live = self.live
        return next(
            (
                row
                for row in self.evaluations
                if row["kind"] == "hold_back" and live and row["version"] == live["version"]
            ),
            None,
        )

    @property
    def counts(self) -> dict[str, int]:
        """How much of what there was, as far as the lists go back."""
        return {
            "models": len(self.models),
            "promoted": sum(row["action"] == "promote" for row in self.promotions),
            "rolled back": sum(row["action"] == "rollback" for row in self.promotions),
            "runs": len(self.runs),
            "refused": sum(
                row["verdict"] != "pass" and row["kind"] not in BY_USERS for row in self.evaluations
            ),
            "decisions learned from": sum(row["n_decisions"] or 0 for row in self.runs),
        }


def overview(client: httpx.Client, *, line: str | None, limit: int) -> Overview:
    """Raises `ServiceAway` and `ServiceRefused`."""
    params = {"limit": str(limit)} | ({} if line is None else {"line": line})
    return Overview(
        **{
            name: ask(client, "GET", f"/v1/{name}", params=params)["data"]
            for name in ("models", "promotions", "runs", "evaluations")
        }
    )


def rollback(client: httpx.Client, *, to: str | None, reason: str, line: str | None = None) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    return _changed(client, "/v1/rollback", {"to": to, "reason": reason, "line": line})


def promote(client: httpx.Client, *, version: str, reason: str, line: str | None = None) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    return _changed(client, "/v1/promotions", {"version": version, "reason": reason, "line": line})


def canary(
    client: httpx.Client, *, version: str, share: float, reason: str, line: str | None = None
) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    given = {"version": version, "share": share, "reason": reason, "line": line}
    return _changed(client, "/v1/canary", given)


def end_canary(client: httpx.Client, *, reason: str, line: str | None = None) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    return _changed(client, "/v1/canary/end", {"reason": reason, "line": line})


def hold_back(client: httpx.Client, *, share: float, reason: str, line: str | None = None) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    return _changed(client, "/v1/hold-back", {"share": share, "reason": reason, "line": line})


def freeze(client: httpx.Client, *, frozen: bool, reason: str, line: str | None = None) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    return _changed(client, "/v1/freeze", {"frozen": frozen, "reason": reason, "line": line})


def rebuild(client: httpx.Client, *, reason: str, line: str | None = None) -> Row:
    """The promotion that it became. Raises `ServiceAway` and `ServiceRefused`."""
    return _changed(client, "/v1/rebuild", {"reason": reason, "line": line})


def quarantine(
    client: httpx.Client,
    source: str,
    *,
    quarantined: bool,
    reason: str,
    since: str | None = None,
    tenant: str | None = None,
) -> Row:
    """What was noted. `source` is `TYPE:ID`. Raises `ServiceAway` and `ServiceRefused`."""
    kind, _, name = source.partition(":")
    said = {"source": {"type": kind.upper(), "id": name}, "quarantined": quarantined}
    return _changed(
        client, "/v1/quarantines", {**said, "since": since, "tenant": tenant, "reason": reason}
    )


def _changed(client: httpx.Client, path: str, given: Row) -> Row:
    body = {name: value for name, value in given.items() if value is not None}
    return ask(client, "POST", path, json=body)


def client(url: str, *, key: str | None = None) -> httpx.Client:
    """A client for the service at this URL, asked directly: a proxy knows no loopback address."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    json: object = None,
    refusals: bool = True,
) -> Row:
    """The body of the reply.  Raises `ServiceAway`, and `ServiceRefused` unless a refusal is an answer too."""
    try:
        response = client.request(method, path, params=params, json=json)
        answer = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as failure:
        raise ServiceAway(f"no Rankloop answers at {client.base_url}: {failure}") from failure
    if not isinstance(answer, dict):
        raise ServiceAway(f"no Rankloop answers at {client.base_url}")
    if refusals and not response.is_success:
        said = answer.get("detail") or answer.get("title") or response.reason_phrase
        raise ServiceRefused(f"{response.status_code}: {said}")
    return answer
