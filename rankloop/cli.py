"""`rankloop`: run the loop on one machine, watch it learn, look in and steer."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A reranking service that learns from what the LLM did with the documents.",
)

Url = Annotated[str, typer.Option(envvar="RANKLOOP_CLI_URL", help="Where the service answers.")]
Line = Annotated[str | None, typer.Option(help="A line other than the service's own.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the promotion.")]
HomeFolder = Annotated[Path, typer.Option("--home", help="Of a loop that `up` runs.")]
SERVICE_URL: Final = "http://127.0.0.1:8000"
HANDED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of a command that another process's command takes the place of: it reads its options itself."""


@app.command()
def up(
    *,
    port: Annotated[int, typer.Option(help="The service's port on 127.0.0.1.")] = 8000,
    home: Annotated[Path, typer.Option(help="Where all state is kept.")] = Path(".rankloop"),
    base: Annotated[
        str,
        typer.Option(help="Starting model: minilm, a Hugging Face cross-encoder or its folder."),
    ] = "minilm",
) -> None:
    """Run the whole loop on this machine until Ctrl-C."""
    from rankloop.embedded import EmbeddedMissing, HomeInUse, ServerFailed
    from rankloop.home import Home
    from rankloop.up import CannotStart
    from rankloop.up import up as run

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        run(Home(path=home.resolve()), port=port, base=base, say=console.print)
    except (CannotStart, EmbeddedMissing, HomeInUse, ServerFailed) as refusal:
        _refuse(str(refusal))
    except KeyboardInterrupt:
        console.print("stopped")


@app.command(context_settings=HANDED_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Watch a reranker learn on this machine (--help tells the options)."""
    from rankloop.up import CHECKOUT, CannotStart, refuse_without_checkout

    try:
        refuse_without_checkout()
    except CannotStart as refusal:
        _refuse(str(refusal))
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    os.execve(sys.executable, [sys.executable, "-m", "examples.demo", *context.args], environ)  # noqa: S606 - the demo takes our place


@app.command()
def status(
    *,
    url: Url = SERVICE_URL,
    line: Line = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows of each table.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Show what is served, and what became of the models that wanted to replace it."""
    from rankloop import operators
    from rankloop.status import as_json, show

    with operators.client(url, key=_key()) as client, _refusals():
        overview = operators.overview(client, line=line, limit=limit)
    console = Console(highlight=False, markup=False)
    if json:
        console.print_json(data=as_json(overview))
    else:
        show(console, overview)


@app.command()
def why(
    what: Annotated[
        str | None,
        typer.Argument(help="A version or its beginning, or a line; without, the service's line."),
    ] = None,
    *,
    url: Url = SERVICE_URL,
    line: Line = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, not sentences.")] = False,
) -> None:
    """Say why a version serves or was refused, with the evidence."""
    from rankloop import operators
    from rankloop.why import as_json, ask, sentences

    with operators.client(url, key=_key()) as client, _refusals():
        answer = ask(client, what, line=line)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if json:
        console.print_json(data=as_json(answer))
    else:
        console.print("\n".join(sentences(answer)))


@app.command()
def doctor(
    *,
    url: Url = SERVICE_URL,
    line: Line = None,
    days: Annotated[float, typer.Option(min=0.001, max=30, help="How far to look back.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what keeps a live loop from learning, and the cheapest remedy; 1 where nothing can be learned."""
    from rankloop import operators
    from rankloop.doctor import DAY_S, Severity, as_json, examine, show

    with operators.client(url, key=_key()) as client, _refusals():
        findings = examine(client, line=line, within_s=days * DAY_S)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if json:
        console.print_json(data=as_json(findings))
    else:
        show(console, findings)
    if any(finding.severity is Severity.BROKEN for finding in findings):
        raise typer.Exit(1)


@app.command()
def rollback(
    *,
    reason: Reason,
    to: Annotated[
        str | None, typer.Option(help="A version; without, the champion before this one.")
    ] = None,
    url: Url = SERVICE_URL,
    line: Line = None,
) -> None:
    """Serve an earlier version again, as a new epoch."""
    from rankloop import operators

    _steer(url, operators.rollback, to=to, reason=reason, line=line)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="As `status` lists it.")],
    *,
    reason: Reason,
    url: Url = SERVICE_URL,
    line: Line = None,
) -> None:
    """Serve a version of the line, whatever the gate said of it, as a new epoch."""
    from rankloop import operators

    _steer(url, operators.promote, version=version, reason=reason, line=line)


@app.command()
def canary(
    version: Annotated[str | None, typer.Argument(help="As `status` lists it.")] = None,
    *,
    reason: Reason,
    share: Annotated[float, typer.Option(help="Of the sessions that it answers.")] = 0.1,
    end: Annotated[bool, typer.Option("--end", help="Let the champion answer alone.")] = False,
    url: Url = SERVICE_URL,
    line: Line = None,
) -> None:
    """Let a version answer a share of the sessions beside the champion, or end that."""
    from rankloop import operators

    if end is (version is not None):
        _refuse("name a version, or say --end")
    if version is None:
        _steer(url, operators.end_canary, reason=reason, line=line)
    else:
        _steer(url, operators.canary, version=version, share=share, reason=reason, line=line)


@app.command()
def hold_back(
    *,
    share: Annotated[float, typer.Option(help="Of the sessions; 0 holds back nobody.")],
    reason: Reason,
    url: Url = SERVICE_URL,
    line: Line = None,
) -> None:
    """Let the base of a line answer a share of the sessions for good: the measure of what was learned."""
    from rankloop import operators

    _steer(url, operators.hold_back, share=share, reason=reason, line=line)


@app.command()
def freeze(*, reason: Reason, url: Url = SERVICE_URL, line: Line = None) -> None:
    """Stop the trainer of a line: what is served stays."""
    _freeze(frozen=True, reason=reason, url=url, line=line)


@app.command()
def unfreeze(*, reason: Reason, url: Url = SERVICE_URL, line: Line = None) -> None:
    """Let the trainer of a frozen line go on."""
    _freeze(frozen=False, reason=reason, url=url, line=line)


def _freeze(*, frozen: bool, reason: str, url: str, line: str | None) -> None:
    from rankloop import operators

    _steer(url, operators.freeze, frozen=frozen, reason=reason, line=line)


@app.command()
def rebuild(*, reason: Reason, url: Url = SERVICE_URL, line: Line = None) -> None:
    """Serve the base of a line again, and learn from it anew, from all that is kept."""
    from rankloop import operators

    _steer(url, operators.rebuild, reason=reason, line=line)


@app.command()
def quarantine(
    source: Annotated[
        str,
        typer.Argument(help="TYPE:ID of its feedback, as in END_USER:widget.", metavar="SOURCE"),
    ],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with the quarantine.")],
    since: Annotated[
        str | None,
        typer.Option(help="What came before this time (RFC 3339) is heard; without, nothing is."),
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Hear it again.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Other than the key's own.")] = None,
    url: Url = SERVICE_URL,
) -> None:
    """Keep a source's feedback out of what rounds learn and judge from."""
    from rankloop import operators

    with operators.client(url, key=_key()) as client, _refusals():
        noted = operators.quarantine(
            client, source, quarantined=not lift, since=since, tenant=tenant, reason=reason
        )
    state = "in quarantine" if noted["quarantined"] else "heard again"
    Console(highlight=False, markup=False, soft_wrap=True).print(
        f"{noted['source_type']}:{noted['source_id']} of tenant {noted['tenant']} is {state}"
    )


def _steer(url: str, change: Callable[..., Mapping[str, Any]], **said: object) -> None:
    """Has it done, and says what is served now."""
    from rankloop import operators

    with operators.client(url, key=_key()) as client, _refusals():
        promotion = change(client, **said)
    frozen = " and is frozen" if promotion["action"] == "freeze" else ""
    canary = promotion["canary_version"]
    beside = f", and to {promotion['canary_share']:.0%} {canary}" if canary else ""
    base = promotion["hold_back_version"]
    held = f", holding back {100 * promotion['hold_back_share']:g}% for {base}" if base else ""
    Console(highlight=False, markup=False, soft_wrap=True).print(
        f"line {promotion['line']} serves {promotion['version']}{beside}{held} as epoch {promotion['epoch']}{frozen}"
    )


@app.command(context_settings=HANDED_ON, add_help_option=False)
def keys(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Create, list, rotate and revoke API keys (--help tells how)."""
    _hand_over("service.key_commands", context.args, home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def evaluate(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Measure a version on a ranking set of yours, beside the first stage (--help tells how)."""
    _hand_over("trainer.ranking_commands", ["evaluate", *context.args], home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def score(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Write a version's score of every candidate of a ranking set (--help tells how)."""
    _hand_over("trainer.ranking_commands", ["score", *context.args], home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def plan(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Say how long your traffic takes to tell two models apart (--help tells how)."""
    _hand_over("trainer.plan_command", context.args, home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def rewards(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Explain a decision's reward, check a reward spec (--help tells how)."""
    _hand_over("trainer.reward_commands", context.args, home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def judge(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Measure the LLM judge on answers that people judged (--help tells how)."""
    _hand_over("judge.calibrate_command", context.args, home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def bench(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Measure a version on this machine, and print the settings to use (--help tells how)."""
    _hand_over("service.bench.command", context.args, home)


@app.command("export-log", context_settings=HANDED_ON, add_help_option=False)
def export_log(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Write a line's rewarded decisions to a file (--help tells how)."""
    _hand_over("trainer.log_commands", context.args, home)


@app.command(context_settings=HANDED_ON, add_help_option=False)
def train(context: typer.Context, *, home: HomeFolder = Path(".rankloop")) -> None:
    """Teach a reranker with a reader's answers, or with a log in a file (--help tells how)."""
    _hand_over("trainer.train_commands", context.args, home)


@app.command()
def register(
    folder: Annotated[
        Path, typer.Argument(help="Of a version, such as `train` makes: trained/candidate.")
    ],
    *,
    line: Line = None,
    home: HomeFolder = Path(".rankloop"),
) -> None:
    """Make a version known to a line; `canary` or `promote` then lets it serve."""
    of_line = [] if line is None else ["--line", line]
    _hand_over("trainer.register", ["--version", str(folder), *of_line], home)


def _hand_over(module: str, arguments: list[str], home: Path) -> NoReturn:
    """Another process's command takes our place."""
    from rankloop.home import Home
    from rankloop.tree import CommandMissing, environment

    try:
        environ = environment(module, Home(path=home.resolve()), os.environ)
    except CommandMissing as refusal:
        _refuse(str(refusal))
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environ)  # noqa: S606 - as above


def _key() -> str | None:
    """Not an option: whoever lists processes would read it."""
    return os.environ.get("RANKLOOP_CLI_API_KEY") or None


@contextmanager
def _refusals() -> Iterator[None]:
    """A refusal is a message, not a traceback."""
    from rankloop.operators import ServiceAway, ServiceRefused

    try:
        yield
    except (ServiceAway, ServiceRefused) as refusal:
        _refuse(str(refusal))


def _refuse(message: str) -> NoReturn:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(message, style="red")
    raise typer.Exit(1)
