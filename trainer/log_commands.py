"""`rankloop export-log`: the rewarded decisions of a line in one file, to learn from or to evaluate with elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from contract.refusals import Refusal
from trainer import database, log_export
from trainer.console import TELLING, refuse, watched
from trainer.log_export import Exported, Format

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export_log(
    file: Annotated[Path, typer.Argument(help="Written whole, or not at all.")],
    *,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="parquet holds all that `rankloop train --log` needs, obp the first places alone.",
        ),
    ],
    line: Annotated[str | None, typer.Option(help="A line other than the trainer's own.")] = None,
) -> None:
    """Write the rewarded decisions of a line to a file, without the texts ever being whole in memory."""
    try:
        named = database.settings()
        with database.opened(named) as connection:
            exported = log_export.export(
                connection,
                file,
                line=line or named.line,
                spec=database.spec(connection, named),
                format_=format_,
                watch=watched,
            )
    except Refusal as refusal:
        refuse(str(refusal))
    except OSError as error:
        refuse(f"{file}: {error.strerror or error}")
    TELLING.print(_told(exported, file))


def _told(exported: Exported, file: Path) -> str:
    left = ", ".join(f"{number} {reason}" for reason, number in exported.skipped.items())
    return f"{exported.decisions} decisions in {file}" + (f"; left out: {left}" if left else "")


if __name__ == "__main__":
    app(prog_name="rankloop export-log")
