"""The command `latentwire`: thin; each command imports what it needs when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from latentwire.stages import exit_code

app = typer.Typer(help="LatentWire: one wire, many language models.", no_args_is_help=True, add_completion=False)


@app.command()
def params(path: Path = Path("params.yaml")) -> None:
    """Show every parameter with its value and its meaning."""
    from latentwire.describe import describe
    from latentwire.params import load

    for line in describe(load(path)):
        typer.echo(line)


@app.command()
def status(root: Path = Path()) -> None:
    """Show where every train item stands: step, starts, newest checkpoint, last verdict."""
    from rich.console import Console

    from latentwire.params import load
    from latentwire.status import table

    Console().print(table(load(root / "params.yaml"), root))


@app.command()
def trace(name: Annotated[str, typer.Argument(metavar="CELL")], root: Path = Path()) -> None:
    """Show what a printed number was made from and compute it again (exit 0 or 3); for a table or figure, its ids."""
    from latentwire.verification.trace import trace

    raise typer.Exit(trace(root, name))


@app.command()
def verify(
    published: Annotated[str | None, typer.Option(help="Git revision or folder; what HEAD has by default.")] = None,
    recompute: Annotated[bool, typer.Option("--recompute", help="Run everything again from data first.")] = False,
    root: Path = Path(),
) -> None:
    """Compare every stage, table and figure with the published ones and with the predictions (exit 0, 3 or 4)."""
    from latentwire.verification import commands

    raise typer.Exit(commands.verify(root, published, recompute))


@app.command()
def archive(
    folder: Path,
    published: Annotated[str | None, typer.Option(help="Git revision or folder; what HEAD has by default.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Write it although verify is not clean, and mark it.")] = False,
    root: Path = Path(),
) -> None:
    """Write the folder that one uploads for a DOI: an RO-Crate of params, predictions, statistics and report."""
    from latentwire.verification import commands

    raise typer.Exit(commands.archive(root, folder, published, draft))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prove(
    context: typer.Context,
    method: Annotated[str, typer.Option(help="A key of methods in params.yaml.")],
    task: Annotated[str, typer.Option(help="A key of tasks in params.yaml.")],
    seed: Annotated[int, typer.Option(help="One of train.seeds in params.yaml.")] = 0,
) -> None:
    """Prove that the train stage survives interruptions (exit 0, 3 or 4); options of `unbroken prove` are passed on."""
    from latentwire.prove import prove_item

    raise typer.Exit(prove_item(method, task, seed, context.args))


@app.command()
def execution(root: Path = Path()) -> None:
    """Write reports/execution/: hardware, time, restarts, disk and utilisation of the runs here."""
    from latentwire.verification import commands

    raise typer.Exit(commands.execution(root))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False, root: Path = Path()) -> None:
    """Say what is here, what is missing and what to do (exit 1 where something is missing)."""
    from latentwire.verification import commands

    raise typer.Exit(commands.doctor(root, as_json))


def run(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; exit codes as everywhere (invariant I7)."""
    sys.exit(exit_code(lambda arguments: app(args=arguments, standalone_mode=True), argv))
