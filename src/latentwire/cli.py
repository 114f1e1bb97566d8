"""The command `latentwire`: thin; each command imports what it needs when it is called."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentwire.console.tables import print_table
from latentwire.docstrings import read_docstring
from latentwire.environment import forget_other_repositories, set_kernels
from latentwire.errors import ConfigurationError
from latentwire.exits import report_kernel_settings, run_program
from latentwire.image import check_image_code
from unbroken.standard_streams import is_terminal, print_sentence

if TYPE_CHECKING:
    from rich.table import Table

    from latentwire.verification.published import Published
    from latentwire.verification.rows import ResultRow

app = typer.Typer(
    help="LatentWire: one wire, many language models.",
    epilog="First `latentwire doctor`, then `make repro`. Exit codes: 0 done, 1 failed, 2 wrong usage or "
    "configuration, 3 a difference was found, 4 it could not be verified, 75 checkpointed, run me again.",
    no_args_is_help=True,
    add_completion=False,
)
TRAINING, EVIDENCE, MACHINE = "Training", "Evidence", "This machine"
Root = Annotated[Path, typer.Option(help="The repository.", exists=True, file_okay=False)]
DIAGNOSIS = "doctor"
"""Says what is wrong with an image, and so runs from any."""


@app.callback(help=app.info.help)
def check_code(context: typer.Context) -> None:
    """Stop in an image whose code is not that of the clone here.

    Raises:
        ConfigurationError: It is not.
    """
    if context.invoked_subcommand != DIAGNOSIS:
        check_image_code()


@app.command("params", rich_help_panel=TRAINING)
def params_command(
    path: Annotated[Path, typer.Option(help="The file.")] = Path("params.yaml"),
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="With what profiles/NAME.yaml sets.")] = None,
) -> None:
    """Show every parameter with its value and its meaning."""
    from latentwire.params.describe import describe_params
    from latentwire.params.load import load_any_params, parse_any_params
    from latentwire.params.overrides import read_profile

    values = load_any_params(path) if profile is None else parse_any_params(read_profile(path, profile), profile)
    typer.echo("\n".join(describe_params(values)))


@app.command("results", rich_help_panel=EVIDENCE)
def results_command(root: Root = Path()) -> None:
    """Show the main table, where everything lies, and what one types next."""
    from latentwire.headline import headline_table, list_places, read_headline

    print_table(headline_table(read_headline(root)))
    typer.echo("\n".join(list_places(root)))


@app.command("sandbox", rich_help_panel=TRAINING)
def sandbox_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")], root: Root = Path()
) -> None:
    """Make a clone to learn in: the real pipeline on made-up models, two minutes in all (docs/tutorial.md)."""
    from latentwire.rehearsal.sandbox import make_sandbox

    typer.echo(make_sandbox(root, folder))


@app.command("status", rich_help_panel=TRAINING)
def status_command(root: Root = Path()) -> None:
    """Show where every train item stands: step, newest checkpoint, starts, running or how it ended, time left."""
    from latentwire.params.load import load_any_params
    from latentwire.status import status_table

    print_table(status_table(load_any_params(root / "params.yaml"), root))


@app.command("history", rich_help_panel=TRAINING)
def history_command(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="As `latentwire status` names it.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    root: Root = Path(),
) -> None:
    """Show every start of an item: when, where, from which step to which, why it ended, what was lost."""
    from latentwire.history import history_table, read_history, read_own_logs
    from latentwire.item import item_stage
    from latentwire.params.load import load_any_params

    values = load_any_params(root / "params.yaml")
    records = read_history(values, root, item)
    for problem in filter(None, (log.problem for log in read_own_logs(root, item))):
        print_sentence(f"note: {problem}")
    if as_json:
        typer.echo(json.dumps([record.as_json() for record in records], indent=1))
    elif records:
        print_table(history_table(records))
    else:
        typer.echo(f"{item} was never started here. Next: `dvc repro {item_stage(values, 'train', item)}`")


@app.command("watch", rich_help_panel=TRAINING)
def watch_command(
    item: Annotated[str | None, typer.Argument(metavar="ITEM", help="Only this item; all of them otherwise.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Show one frame and end.")] = False,
    every: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between two frames: 1 on a terminal, 10 elsewhere.")
    ] = None,
    root: Root = Path(),
) -> None:
    """Follow the training live: loss, pace, checkpoints, restarts, GPUs (lines where the output is no terminal)."""
    from latentwire.watch import watch_items

    raise typer.Exit(watch_items(root, item, once, every or (1.0 if is_terminal(sys.stdout) else 10.0)))


@app.command("dashboard", rich_help_panel=TRAINING)
def dashboard_command(
    item: Annotated[str | None, typer.Option(metavar="ITEM", help="Only this item; all of them otherwise.")] = None,
    output: Annotated[Path, typer.Option(help="The page.")] = Path("dashboard.html"),
    once: Annotated[bool, typer.Option("--once", help="Write the page once and end.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two pages.")] = 10.0,
    serve: Annotated[bool, typer.Option("--serve", help="Write nothing; serve it on 127.0.0.1.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="For --serve; 0 takes a free one.")] = 8765,
    root: Root = Path(),
) -> None:
    """Write a page that shows the training, also offline: curves, restarts, pace, GPUs, alerts; anew as it goes on."""
    from latentwire.dashboard.command import serve_dashboard, write_dashboard

    if serve:
        raise typer.Exit(serve_dashboard(root, item, port, every))
    raise typer.Exit(write_dashboard(root, item, output, once, every))


@app.command("trace", rich_help_panel=EVIDENCE)
def trace_command(
    name: Annotated[str, typer.Argument(metavar="CELL", help="An id; trace a table or figure to see those in it.")],
    root: Root = Path(),
) -> None:
    """Show what a printed number was made from and compute it again (exit 0, 3 or 4); of a table or figure, its ids."""
    from latentwire.verification.trace import trace_number

    raise typer.Exit(trace_number(root, name))


@app.command("verify", rich_help_panel=EVIDENCE)
def verify_command(
    published: Annotated[str | None, typer.Option(help="Git revision or folder; what HEAD has by default.")] = None,
    recompute: Annotated[bool, typer.Option("--recompute", help="Run everything again from data first.")] = False,
    stage: Annotated[
        list[str] | None, typer.Option(help="With --recompute: only this stage (again for more) and what it needs.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Texts of every task to score again from the weights.")] = 0,
    root: Root = Path(),
) -> None:
    """Compare every stage, table and figure with the published ones and with the predictions (exit 0, 3 or 4)."""
    from latentwire.verification import rows

    compared, label = _compared(root, published, recompute, sample, stage or ())
    _print_rows(rows.rows_table(compared), rows.format_rows(compared))
    typer.echo(rows.summarize_rows(compared, label))
    raise typer.Exit(rows.verification_exit_code(compared))


@app.command("contract", rich_help_panel=EVIDENCE)
def contract_command(root: Root = Path()) -> None:
    """Say of every folder that a stage has to write whether it has what later stages read (exit 0, or 1 if not)."""
    from latentwire.contract import check_contract
    from latentwire.params.load import load_any_params

    folders = check_contract(root, load_any_params(root / "params.yaml"))
    typer.echo("\n".join(f"{folder.name}: {folder.lacks or 'complete'}" for folder in folders))
    raise typer.Exit(int(any(folder.lacks for folder in folders)))


@app.command("archive", rich_help_panel=EVIDENCE)
def archive_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    published: Annotated[str | None, typer.Option(help="Git revision or folder; what HEAD has by default.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Write it although verify is not clean, and mark it.")] = False,
    root: Root = Path(),
) -> None:
    """Write the folder that one uploads for a DOI: an RO-Crate of params, predictions, statistics and report."""
    from latentwire.archive.folder import (
        check_publishable,
        list_archived_files,
        reasons_against_publishing,
        write_archive,
    )
    from latentwire.verification.lockfile import UnverifiableError

    try:
        why = reasons_against_publishing(root, _compared(root, published, again=False)[0])
    except UnverifiableError as error:
        if not draft:
            raise
        why = [str(error)]
    if not draft:
        check_publishable(why)
    written = write_archive(root, folder, why)
    typer.echo(f"{len(list_archived_files(written))} files in {written}{' (DRAFT)' if why else ''}")


@app.command(
    "prove", rich_help_panel=EVIDENCE, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def prove_command(
    context: typer.Context,
    method: Annotated[str, typer.Option(help="A key of methods in params.yaml.")],
    task: Annotated[str, typer.Option(help="A key of tasks in params.yaml.")],
    seed: Annotated[int, typer.Option(help="A seed of the method in params.yaml.")] = 0,
) -> None:
    """Prove that the train stage survives interruptions (exit 0, 3 or 4); options as of `python -m unbroken prove`."""
    from latentwire.prove import prove_item

    raise typer.Exit(prove_item(method, task, seed, context.args))


@app.command("park", rich_help_panel=TRAINING)
def park_command(
    items: Annotated[
        list[str] | None, typer.Argument(metavar="ITEM", help="Items, as `latentwire status` names them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every item; those without a checkpoint are skipped.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only show what is parked in the remote.")] = False,
    optional: Annotated[bool, typer.Option("--optional", help="No error where there is no checkpoint yet.")] = False,
    keep: Annotated[int, typer.Option(min=1, help="Parked versions of an item that stay; older ones are dropped.")] = 2,
    remote: Annotated[str | None, typer.Option(help="A DVC remote; the default one otherwise.")] = None,
    root: Root = Path(),
) -> None:
    """Send the newest checkpoint of unfinished items to the DVC remote; a training under way is not disturbed."""
    from latentwire.parking import commands

    if listing:
        raise typer.Exit(commands.list_parked(root, remote))
    raise typer.Exit(commands.park_items(root, items or [], everything, optional, keep, remote))


@app.command("fetch", rich_help_panel=TRAINING)
def fetch_command(
    items: Annotated[
        list[str] | None, typer.Argument(metavar="ITEM", help="Items, as `latentwire status` names them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every item; those that are not parked are skipped.")
    ] = False,
    optional: Annotated[bool, typer.Option("--optional", help="No error where nothing is parked.")] = False,
    pointers: Annotated[
        bool, typer.Option("--pointers", help="Only write checkpoints/ITEM.dvc, so that `dvc gc --cloud` keeps them.")
    ] = False,
    remote: Annotated[str | None, typer.Option(help="A DVC remote; the default one otherwise.")] = None,
    root: Root = Path(),
) -> None:
    """Bring parked checkpoints from the DVC remote, verified; the next training goes on from them."""
    from latentwire.parking import commands

    raise typer.Exit(commands.fetch_items(root, items or [], everything, optional, pointers, remote))


@app.command("execution", rich_help_panel=EVIDENCE)
def execution_command(root: Root = Path()) -> None:
    """Write reports/execution/: hardware, time, restarts, disk and utilisation of the runs here."""
    from latentwire.execution.report import gather_execution, write_execution
    from latentwire.params.load import load_any_params

    for path in write_execution(root, gather_execution(root, load_any_params(root / "params.yaml"))):
        typer.echo(path)


@app.command(
    "profile", rich_help_panel=EVIDENCE, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def profile_command(context: typer.Context) -> None:
    """Measure what an answer costs here, for reports/execution/; options of `python -m latentwire.stages.profile`."""
    from latentwire.exits import run_stage
    from latentwire.stages import profile

    run_stage(profile.main, context.args)


@app.command("estimate", rich_help_panel=MACHINE)
def estimate_command(root: Root = Path()) -> None:
    """Say how many stages `make repro` will run, and how long, as they took here or cost in the published run."""
    from latentwire.estimate import estimate_pipeline

    typer.echo(estimate_pipeline(root))


@app.command("doctor", rich_help_panel=MACHINE)
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    of_image: Annotated[
        bool, typer.Option("--image", help="Check the image that this runs from, and only it.")
    ] = False,
    of_memory: Annotated[
        bool, typer.Option("--memory", help="Only say what a training process holds, and how many fit here.")
    ] = False,
    root: Root = Path(),
) -> None:
    """Say what is here, what is missing and what to do (exit 1 where something is missing, or does not fit)."""
    raise typer.Exit(_plan_memory(root, as_json) if of_memory else _examine(root, as_json, of_image))


def _compared(
    root: Path, where: str | None, again: bool, sample: int = 0, stages: Sequence[str] = ()
) -> tuple[list[ResultRow], str]:
    from latentwire.verification.published import find_published
    from latentwire.verification.recompute import recompute_published
    from latentwire.verification.recomputed_stages import needed_stages, recomputed_rows

    if stages and (sample or not again):
        raise ConfigurationError(
            f"--stage {stages[0]} was found {'beside --sample' if again else 'without --recompute'}, expected with "
            f"--recompute alone. Next: `latentwire verify --recompute --stage {stages[0]}`."
        )
    reference = find_published(root, where)
    if not again:
        return _verified(root, reference, sample), reference.label
    needed_stages(reference, stages)
    with tempfile.TemporaryDirectory(prefix="latentwire-recompute-") as scratch:
        clone = recompute_published(root, reference, Path(scratch), stages)
        rows = recomputed_rows(clone, reference, stages) if stages else _verified(clone, reference, sample)
        return rows, reference.label


def _verified(root: Path, reference: Published, sample: int) -> list[ResultRow]:
    from latentwire.verification.verify import verify_results

    return [*verify_results(root, reference), *(_sampled(root, sample) if sample else ())]


def _sampled(root: Path, count: int) -> list[ResultRow]:
    from latentwire.params.load import load_params
    from latentwire.pipeline.sample import describe_left_out, sample_answers

    values = load_params(root / "params.yaml")
    print_sentence(f"note: {describe_left_out(values)}")
    return sample_answers(root, values, count)


def _print_rows(table: Table, lines: Sequence[str]) -> None:
    if is_terminal(sys.stdout):
        print_table(table)
    else:
        typer.echo("\n".join(lines))


def _examine(root: Path, as_json: bool, of_image: bool) -> int:
    from latentwire.doctor import checks, image_checks

    done = image_checks.examine_image(root) if of_image else checks.examine_machine(root)
    if as_json:
        typer.echo(json.dumps(checks.checks_as_json(done), indent=1, ensure_ascii=False))
    else:
        _print_rows(checks.checks_table(done), checks.format_checks(done))
    return checks.doctor_exit_code(done)


def _plan_memory(root: Path, as_json: bool) -> int:
    from latentwire.doctor.memory import plan_memory
    from latentwire.params.load import load_params

    planned = plan_memory(load_params(root / "params.yaml"), root)
    typer.echo(json.dumps(planned.as_json(), indent=1) if as_json else "\n".join(planned.lines()))
    return int(not planned.fits)


def run(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; exit codes as everywhere (invariant I7)."""
    sys.exit(run_program(_run_command, argv))


def _run_command(arguments: Sequence[str] | None) -> None:
    report_kernel_settings(set_kernels("portable"), lambda sentence: print_sentence(f"note: {sentence}"))
    forget_other_repositories()
    _restore_help()
    app(args=arguments, standalone_mode=True)


def _restore_help() -> None:
    for command in app.registered_commands:
        if command.help is None and command.callback is not None:
            command.help = read_docstring(command.callback)
