"""`rankloop plan`: days until the gate and a canary can tell, and what they could tell by then."""

import json as jsonlib
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from trainer import plan
from trainer.canary import Limits
from trainer.console import TELLING, refuse
from trainer.learner import Capacity
from trainer.plan import Site, Spread
from trainer.settings import TrainerSettings

GAINS: Final = (0.01, 0.02, 0.05, 0.10)
DAYS: Final = (1, 7, 30, 90)

_CONNECT_S: Final = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class _Settings(BaseSettings):
    """Some of the trainer's own."""

    model_config = SettingsConfigDict(env_prefix="RANKLOOP_", env_ignore_empty=True)

    database_url: str | None = None
    line: str = "default"
    trainer_gate_share: float = TrainerSettings.model_fields["trainer_gate_share"].default
    trainer_round_min_rewards: int = TrainerSettings.model_fields[
        "trainer_round_min_rewards"
    ].default
    trainer_alpha: float = TrainerSettings.model_fields["trainer_alpha"].default
    trainer_capacities: tuple[Capacity, ...] = TrainerSettings.model_fields[
        "trainer_capacities"
    ].default


@app.command()
def main(
    *,
    rps: Annotated[float, typer.Option(min=1e-6, help="Requests a second, on average.")],
    feedback_rate: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Share of requests that are judged.")
    ],
    explore: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Share of requests that explore.")
    ] = 0.1,
    line: Annotated[str | None, typer.Option(help="A line other than the trainer's own.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Say how many days the gate and a canary take to tell, and what gain they could see by then."""
    settings = _Settings()
    spread = _spread(settings, line or settings.line)
    site = Site(
        rps=rps,
        feedback_rate=feedback_rate,
        explore=explore,
        gate_share=settings.trainer_gate_share,
        round_min_rewards=settings.trainer_round_min_rewards,
        alpha=settings.trainer_alpha,
        candidates=len(settings.trainer_capacities),
    )
    found = planned(site, spread)
    if json:
        typer.echo(jsonlib.dumps(found, indent=1))
    else:
        show(TELLING, found)


def planned(site: Site, spread: Spread) -> dict[str, Any]:
    """Everything that is told."""

    def days(rewards: float) -> float:
        return rewards / site.rewards_a_day

    return {
        "rewards_a_day": site.rewards_a_day,
        "site": asdict(site),
        "spread": asdict(spread),
        "first_round_days": days(site.round_min_rewards),
        "let_in_by_the_margin_days": days(
            plan.canary_rewards(spread, gain=0.0, until=Limits().margin)
        ),
        "days_to_a_verdict": [
            {
                "gain": gain,
                "gate": days(plan.gate_rewards(site, spread, gain=gain)),
                "canary_better": days(plan.canary_rewards(spread, gain=gain)),
                "canary_worse": days(plan.canary_rewards(spread, gain=-gain)),
            }
            for gain in GAINS
        ],
        "detectable": [
            {
                "days": after,
                "gate": plan.gate_gain(site, spread, count=after * site.rewards_a_day),
                "canary": plan.canary_gain(spread, count=after * site.rewards_a_day),
            }
            for after in DAYS
        ],
    }


def show(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"{found['rewards_a_day']:,.0f} rewards a day; the first round after {_days(found['first_round_days'])}"
    )
    console.print(_sources(found["spread"]))
    verdicts = Table("true gain", "gate passes it", "canary calls it better", "a loss rolled back")
    for row in found["days_to_a_verdict"]:
        times = (_days(row[name]) for name in ("gate", "canary_better", "canary_worse"))
        verdicts.add_row(f"{row['gain']:.2f}", *times)
    console.print(verdicts)
    seen = Table("after", "the gate sees", "a canary sees")
    for row in found["detectable"]:
        gains = (_gain(row[name]) for name in ("gate", "canary"))
        seen.add_row(f"{row['days']} days", *gains)
    console.print(seen)
    console.print(
        "a model that passed the gate and is as good as the champion is let in by the canary's margin after"
        f" {_days(found['let_in_by_the_margin_days'])}"
    )


def _spread(settings: _Settings, line: str) -> Spread:
    if settings.database_url is None:
        return Spread()
    engine = create_engine(settings.database_url, connect_args={"connect_timeout": _CONNECT_S})
    try:
        with engine.connect() as connection:
            return plan.measured(connection, line)
    except (OperationalError, ProgrammingError) as error:
        refuse(f"the database says: {error.orig}")
    finally:
        engine.dispose()


def _sources(spread: dict[str, Any]) -> str:
    change = "measured" if spread["change_measured"] else "assumed"
    count = spread["units_measured"]
    units = f"measured over {count:,} units" if count else "assumed"
    return (
        f"spread of the log's estimate {spread['change']:.2f} ({change}), of a unit's reward {spread['unit']:.2f}"
        f" ({units})"
    )


def _days(days: float) -> str:
    return f"{days * 24:.1f} hours" if days < 1 else f"{days:,.1f} days"


def _gain(gain: float | None) -> str:
    return "nothing" if gain is None else f"{gain:.3f}"


if __name__ == "__main__":
    app(prog_name="rankloop plan")
