"""Watches what the loop makes of the traffic: versions promoted and refused, and why, as the operators' API says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

POLL_S: Final = 1.0
SWAP_POLLS: Final = 120
PAGE: Final = {"limit": 100}

Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Verdicts:
    """What became of the models that the trainer proposed."""

    promoted: dict[int, str] = field(default_factory=dict)
    """Version by epoch, the starting model's aside."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reason by evaluation."""
    lines: list[str] = field(default_factory=list)
    """Everything in words, oldest first."""
    is_training: bool = False


async def watch(
    service: httpx.AsyncClient,
    verdicts: Verdicts,
    *,
    say: Say,
    on_promotion: Callable[[str], Awaitable[None]],
) -> None:
    """Polls until it is cancelled."""
    while True:
        for version in await look(service, verdicts, say=say):
            await on_promotion(version)
        await asyncio.sleep(POLL_S)


async def look(service: httpx.AsyncClient, verdicts: Verdicts, *, say: Say) -> list[str]:
    """Takes in what is new; returns the versions promoted since the last look."""

    def tell(line: str) -> None:
        verdicts.lines.append(line)
        say(line)

    runs = await _items(service, "/v1/runs")
    if runs is not None:
        verdicts.is_training = any(run["status"] == "running" for run in runs)
    for evaluation in reversed(await _items(service, "/v1/evaluations") or []):
        name = evaluation["evaluation_id"]
        if evaluation["verdict"] != "pass" and name not in verdicts.refused:
            verdicts.refused[name] = evaluation["reason"]
            tell(f"refused {evaluation['version'][:12]}: {evaluation['reason']}")
    new = []
    for promotion in reversed(await _items(service, "/v1/promotions") or []):
        epoch, version = promotion["epoch"], promotion["version"]
        if promotion["action"] == "promote" and epoch not in verdicts.promoted:
            verdicts.promoted[epoch] = version
            new.append(version)
            tell(f"promoted {version[:12]} as epoch {epoch}: {promotion['reason']}")
    return new


async def until_served(service: httpx.AsyncClient, verdicts: Verdicts) -> None:
    """Waits for the last promoted version to answer requests: to fetch, check and warm it takes seconds."""
    promoted = max(verdicts.promoted, default=0)
    for _ in range(SWAP_POLLS):
        if promoted <= await _epoch(service):
            return
        await asyncio.sleep(POLL_S)


async def _epoch(service: httpx.AsyncClient) -> int:
    try:
        response = await service.get("/info")
        response.raise_for_status()
    except httpx.HTTPError:
        return -1
    return max((each["epoch"] for each in response.json()["serving"]), default=0)


async def _items(service: httpx.AsyncClient, path: str) -> list[Any] | None:
    """The newest rows, newest first; None while the service is away."""
    try:
        response = await service.get(path, params=PAGE)
        response.raise_for_status()
    except httpx.HTTPError:
        return None
    return list(response.json()["data"])
