"""`rankloop rewards`: what a decision's feedback amounts to and why, and whether a file is a reward spec."""

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contract.refusals import Refusal
from contract.rewards import RewardSpec
from trainer import database, explain, spec_files
from trainer.console import TELLING, refusals
from trainer.examples import observed_weight
from trainer.explain import Explanation

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="How feedback becomes a reward.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")]

_HEADINGS: Final = ("said at", "about", "name", "value", "source", "counts")


@app.command("explain")
def explain_command(
    decision: Annotated[UUID, typer.Argument(help="The decision's id.")],
    *,
    spec: Annotated[
        Path | None,
        typer.Option(help="A spec's file; without, the trainer's, else the one stored last."),
    ] = None,
    json: Json = False,
) -> None:
    """Say which feedback of a decision counts, which does not, and why."""
    with refusals(Refusal):
        named = database.settings()
        with database.opened(named) as connection:
            chosen = database.spec(connection, named, spec)
            found = explain.explain(connection, decision, spec=chosen)
    if json:
        typer.echo(jsonlib.dumps(as_json(found), indent=1, default=str))
    else:
        show(TELLING, found)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="YAML or JSON.")], *, json: Json = False
) -> None:
    """Say what a spec's file means, or what is wrong with it; 1 where it is refused."""
    with refusals(Refusal):
        spec = spec_files.read(file)
    definition = {name: value for name, value in spec.definition().items() if name != "version"}
    if json:
        typer.echo(jsonlib.dumps(definition, indent=1))
    else:
        typer.echo(_told(spec))


def as_json(found: Explanation) -> dict[str, Any]:
    """All that the tables are made of."""
    return {
        **asdict(found),
        "statements": [
            {**asdict(row), "fate": fate.name.lower(), "why": fate.value}
            for row, fate in found.statements
        ],
    }


def show(console: Console, found: Explanation) -> None:
    console.print(
        f"line {found.line}, spec {found.spec.id}@{found.spec.version}: {_told(found.spec)}"
    )
    console.print(
        f"rewards are derived from {found.window_closes_at:%Y-%m-%d %H:%M:%S} on (UTC),"
        f" feedback is heard until {found.reopens_until:%Y-%m-%d %H:%M:%S}"
    )
    if found.statements:
        table = Table(*_HEADINGS)
        for row, fate in found.statements:
            table.add_row(
                f"{row.occurred_at:%Y-%m-%d %H:%M:%S}",
                "decision" if row.document is None else f"document {row.document}",
                Text(row.name),
                "-" if row.value is None else f"{row.value:g}",
                Text(f"{row.source.value} {row.judge or row.source_id}"),
                fate.value,
            )
        console.print(table)
    console.print(_amounts(found))


def _amounts(found: Explanation) -> str:
    reward = found.reward.value
    credit = "".join(
        f", document {position}: {value:g}" for position, value in found.reward.credits.items()
    )
    weight = observed_weight(found.reward.observation)
    if weight > 1:
        credit += f", standing for {weight:g} decisions"
    now = (
        "nobody said what counts: unobserved, not zero" if reward is None else f"reward {reward:g}"
    )
    if found.revision is None:
        return f"{now}{credit}; no reward is stored yet"
    stored = "withdrawn" if found.stored is None else f"{found.stored:g}"
    return f"{now}{credit}; stored as revision {found.revision}: {stored}"


def _told(spec: RewardSpec) -> str:
    parts = [
        f"the {spec.combine} of the first of {', '.join(spec.names)}",
        f"times {', '.join(spec.multipliers)}" if spec.multipliers else "",
        f"by {' before '.join(source.value for source in spec.sources)}",
        f"credit of documents from {', '.join(spec.document_names)}" if spec.document_names else "",
        f"after {spec.wait_s:g} s, revised until {spec.reopen_s:g} s",
    ]
    return "; ".join(part for part in parts if part)


if __name__ == "__main__":
    app(prog_name="rankloop rewards")
