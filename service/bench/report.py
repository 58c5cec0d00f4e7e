"""What a measurement says: a table, the reasons, and lines to paste."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table

from service.bench.look import LARGE, SMALL, TOP, Look
from service.bench.measure import EXACT, Measured
from service.bench.trial import Arm, Ratio
from service.settings import Precision

_MIB: Final = 1 << 20
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_MILLION: Final = 1_000_000


def heading(found: Measured) -> str:
    return (
        f"version {found.version[:12]} on {found.provider}, {found.cores} cores, documents of"
        f" {found.tokens_s / found.documents_s:.0f} tokens with their query; without HTTP and tokenising"
    )


def table(found: Measured) -> Table:
    """All settings, the quickest first; the closer look at those that were left."""
    drawn = Table("precision")
    for name in (
        *("threads", "batch\ntokens", "docs/s", f"{SMALL} docs\nms"),
        *(f"{LARGE} docs\nms", f"top {TOP}\n%", "peak\nMiB"),
    ):
        drawn.add_column(name, justify="right")
    for arm in _ranked(found):
        drawn.add_row(
            *(arm.precision, str(arm.threads), str(arm.batch_tokens)),
            *(f"{found.speed(arm):,.0f}", *_looked(found.looks.get(arm))),
            style="bold" if arm == found.recommended else None,
        )
    return drawn


def _ranked(found: Measured) -> list[Arm]:
    return sorted(found.trial.seconds, key=found.trial.slowness)


def _looked(look: Look | None) -> tuple[str, ...]:
    if look is None:
        return ()
    return (
        f"{1000 * look.small_s:.1f}",
        f"{1000 * look.large_s:.1f}",
        "" if look.overlap is None else f"{100 * look.overlap:.1f}",
        f"{look.peak_bytes / _MIB:,.0f}",
    )


def reasons(found: Measured) -> Iterator[str]:
    """Why these settings."""
    for precision in found.excluded:
        yield (
            f"{precision} is not recommended: under {found.min_overlap:.0%} of {EXACT}'s first {TOP} of {LARGE}"
            " documents are among its own"
        )
    best = found.trial.quickest(found.looks)
    if best != found.recommended and best.precision not in found.excluded:
        ratio = found.trial.ratio(found.recommended, best)
        yield f"{_named(best)} was no better than by noise or a trifle: {_times(ratio)} as fast as what is recommended"
    if found.recommended == found.default:
        yield "recommended is what the service does by default"
        return
    ratio = found.trial.ratio(found.default, found.recommended)
    near = "; the difference is within noise" if ratio.is_noise else ""
    yield f"recommended is {_times(ratio)} as fast as the default, {_named(found.default)}{near}"


def settings(found: Measured) -> Iterator[str]:
    """Lines for an environment file; 0 and `auto` are what the service does by itself, on other machines too.

    A precision that is named is the only one that is tried.
    """
    arm, default = found.recommended, found.default
    yield f"RANKLOOP_SERVICE_THREADS={_set(arm.threads, default.threads)}"
    yield f"RANKLOOP_SERVICE_BATCH_TOKENS={_set(arm.batch_tokens, default.batch_tokens)}"
    precision = Precision.AUTO if arm.precision == default.precision else arm.precision
    yield f"RANKLOOP_SERVICE_PRECISION={precision}"


def _set(value: int, default: int) -> int:
    return 0 if value == default else value


def cost(found: Measured, *, price: float | None) -> Iterator[str]:
    """What a busy machine does with them.

    price: of an hour of this machine, in any currency.
    """
    speed = found.speed(found.recommended)
    tokens = found.tokens_speed(found.recommended)
    yield (
        f"{speed:,.0f} documents a second, {tokens:,.0f} tokens: a million documents take"
        f" {_MILLION / speed / _MINUTE_S:,.0f} minutes of this machine"
    )
    if price is not None:
        yield f"at {price:g} an hour, a million documents cost {of_a_million(speed, price=price):.3g}"


def of_a_million(speed: float, *, price: float) -> float:
    """The price of a million documents.

    speed: documents a second.  price: of an hour.
    """
    return price * _MILLION / (speed * _HOUR_S)


def as_json(found: Measured, *, price: float | None) -> dict[str, Any]:
    """All of it."""
    speed = found.speed(found.recommended)
    return {
        "version": found.version,
        "provider": found.provider,
        "cores": found.cores,
        "default": asdict(found.default),
        "recommended": asdict(found.recommended),
        "settings": dict(line.split("=", 1) for line in settings(found)),
        "reasons": list(reasons(found)),
        "price_of_a_million": None if price is None else of_a_million(speed, price=price),
        "tried": [_row(found, arm) for arm in _ranked(found)],
    }


def _row(found: Measured, arm: Arm) -> dict[str, Any]:
    look = found.looks.get(arm)
    return {
        **asdict(arm),
        "documents_per_s": found.speed(arm),
        "tokens_per_s": found.tokens_speed(arm),
        "times_as_long_as_default": asdict(found.trial.ratio(arm, found.default)),
        "rounds": len(found.trial.seconds[arm]),
        "look": None if look is None else asdict(look),
    }


def _named(arm: Arm) -> str:
    threads = "1 thread" if arm.threads == 1 else f"{arm.threads} threads"
    return f"{arm.precision} with {threads} and {arm.batch_tokens} tokens"


def _times(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
