"""Watches what the loop makes of the traffic: versions promoted and refused, and why, as the operators' API says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

POLL_S: Final = 1.0
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
    verdicts.is_training = any(run["status"] == "running" for run in runs)
    for evaluation in reversed(await _items(service, "/v1/evaluations")):
        name = evaluation["evaluation_id"]
        if evaluation["verdict"] != "pass" and name not in verdicts.refused:
            verdicts.refused[name] = evaluation["reason"]
            tell(f"refused {evaluation['version'][:12]}: {evaluation['reason']}")
    new = []
    for promotion in reversed(await _items(service, "/v1/promotions")):
        epoch, version = promotion["epoch"], promotion["version"]
        if promotion["action"] == "promote" and epoch not in verdicts.promoted:
            verdicts.promoted[epoch] = version
            new.append(version)
            tell(f"promoted {version[:12]} as epoch {epoch}: {promotion['reason']}")
    return new


async def _items(service: httpx.AsyncClient, path: str) -> list[Any]:
    """The newest rows, newest first; none while the service is away."""
    try:
        response = await service.get(path, params=PAGE)
        response.raise_for_status()
    except httpx.HTTPError:
        return []
    return list(response.json()["data"])
