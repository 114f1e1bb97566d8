"""The command `latentwire`: thin; each command imports what it needs when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

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


def run(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; exit codes as everywhere (invariant I7)."""
    sys.exit(exit_code(lambda arguments: app(args=arguments, standalone_mode=True), argv))
