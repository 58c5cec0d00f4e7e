"""What a process finds around it: its settings, and the cores it may use.

A misspelt setting is refused by name: each process knows which RANKLOOP_ names are its own.

Every process of a loop sees the same environment, so a name is fine for all when it is known to one
of them. The prefixes below are the other processes' territory; everything else must be a field of
the settings that read it.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "RANKLOOP_"

SHARED: Final = frozenset(
    {"DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL", "SECRET", "CACHE_DIR", "LINE"}
)
"""Read by more than one process."""

TERRITORIES: Final = {
    "service": "SERVICE_",
    "trainer": "TRAINER_",
    "judge": "JUDGE_",
    "cli": "CLI_",
}
"""The prefix, after RANKLOOP_, of the names that one process alone reads."""


def cores() -> int:
    """How many of this machine's cores the process may use; macOS knows only how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def refuse_unknown(process: str, fields: Iterable[str], environ: Mapping[str, str]) -> None:
    """Raises ValueError naming every variable that this process should know and does not."""
    own = {name.upper() for name in fields} | SHARED
    elsewhere = tuple(prefix for name, prefix in TERRITORIES.items() if name != process)
    unknown = sorted(
        name
        for name in environ
        if name.startswith(PREFIX)
        and (short := name.removeprefix(PREFIX)) not in own
        and not short.startswith(elsewhere)
    )
    if unknown:
        message = f"unknown settings: {', '.join(unknown)}"
        raise ValueError(message)
