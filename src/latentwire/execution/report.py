"""`reports/execution/`: the artifact appendix in Markdown, with the figure of utilisation beside it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentwire import git, machine
from latentwire.execution import sacct, utilisation
from latentwire.execution.sacct import Job
from latentwire.execution.sessions import RunTotals, Session, read_event_logs, sessions_from_logs, sum_sessions
from latentwire.execution.utilisation import ItemUtilisation
from latentwire.item import TrainItem
from latentwire.nvml import read_gpus
from latentwire.output_files import write_text_file
from latentwire.params.load import AnyParams
from latentwire.sizes import format_bytes
from latentwire.tracking.lookup import open_reader
from latentwire.tracking.store import TrackingError
from latentwire.verification import chain

EXECUTION_FOLDER = Path("reports/execution")
TEXT, FIGURE, COSTS = "execution.md", "utilisation.png", "profile.md"
MEASURED_PATHS = ("results", "state", ".dvc/cache", "assets", "mlflow.db", "mlartifacts", ".venv")


@dataclass(frozen=True)
class Execution:
    """All that is known of how the results here came about."""

    commit: str | None
    hardware: Mapping[str, str]
    disk: Mapping[str, int]
    sessions: Sequence[Session]
    totals: Sequence[RunTotals]
    jobs: Sequence[Job] | None
    measured: Sequence[ItemUtilisation]
    missing: str | None
    """Why there are no system metrics."""
    profile: str | None
    """Name of the text on measured costs beside this one; None where nothing was measured."""
    damaged: Sequence[str] = ()
    """Sentences on lines of the runs' logs that could not be read."""


def gather_execution(root: Path, values: AnyParams) -> Execution:
    """Read events, SLURM's accounting and MLflow; what is not there is reported as missing."""
    logs = read_event_logs(root / "state")
    sessions = sessions_from_logs(logs)
    measured, missing = _measured(root, values)
    gpus = {item.item: item.gpus for item in measured}
    if not read_gpus().cards:
        gpus = {**{session.item: 0 for session in sessions if session.host == platform.node()}, **gpus}
    since = min((session.start for session in sessions), default=None)
    return Execution(
        commit=git.resolve_commit(root),
        hardware=describe_hardware(),
        disk={name: machine.size_on_disk(root / name) for name in MEASURED_PATHS if (root / name).exists()},
        sessions=sessions,
        damaged=[log.problem for log in logs if log.problem],
        totals=sum_sessions(sessions, gpus),
        jobs=sacct.query_jobs(f"{since:%Y-%m-%d}") if since else None,
        measured=measured,
        missing=missing,
        profile=COSTS if (root / EXECUTION_FOLDER / COSTS).is_file() else None,
    )


def write_execution(root: Path, execution: Execution) -> list[Path]:
    """Write text and figure; return their paths."""
    folder = root / EXECUTION_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    text, figure = folder / TEXT, folder / FIGURE
    figure.unlink(missing_ok=True)
    if execution.measured:
        utilisation.draw_utilisation(execution.measured, execution.sessions, figure)
    write_text_file(text, "\n".join(format_appendix(execution)) + "\n")
    return [text, figure] if figure.exists() else [text]


def describe_hardware() -> dict[str, str]:
    """The machine that this runs on, which need not be the one that trained."""
    gpus = read_gpus()
    cards = ", ".join(f"{gpu.name} ({gpu.size})" for gpu in gpus.cards) or "none"
    return {
        "host": platform.node(),
        "processor": machine.describe_processor(),
        "memory": machine.describe_memory(),
        "GPUs": cards + (f", driver {gpus.driver}" if gpus.driver else ""),
        "system": platform.platform(),
        "Python": platform.python_version(),
        "torch": machine.installed_version("torch") or "not installed",
    }


def format_appendix(execution: Execution) -> list[str]:
    """The Markdown text, line by line."""
    return [
        "# Execution",
        "",
        "How the results here came about. None of this is a result: another execution has other numbers here and the "
        "same results.",
        "",
        f"Code revision: {execution.commit or 'no git revision'}",
        "",
        f"Image: {_images(execution.sessions)}",
        "",
        f"Source that trained: {_versions(execution.sessions)}",
        "",
        "## Machine on which this was written",
        "",
        *_pairs(execution.hardware),
        "",
        "## Training runs",
        "",
        *_runs(execution),
        "",
        "## Utilisation",
        "",
        *_utilisation(execution),
        "",
        "## Costs of an answer",
        "",
        f"In [{execution.profile}]({execution.profile})."
        if execution.profile
        else "Not measured: `latentwire profile`.",
        "",
        "## SLURM",
        "",
        *_jobs(execution.jobs),
        "",
        "## Disk",
        "",
        *_pairs({name: format_bytes(count) for name, count in execution.disk.items()}),
    ]


def _runs(execution: Execution) -> list[str]:
    damaged = [line for problem in execution.damaged for line in ("", problem)]
    if not execution.totals:
        return ["No run has its state here: `state/*/events.jsonl` is on the machine that trained.", *damaged]
    head = (
        "| run | identity | starts | processes | preempted | killed | steps | repeated | hours | GPU-hours | standing |"
    )
    rows = [
        f"| {t.item} | {t.identity} | {t.starts} | {_processes(t)} | {t.preemptions} | {t.kills} | {t.steps} "
        f"| {t.repeated} | {t.hours:.3f} | {_hours(t.gpu_hours)} | {t.verdict} |"
        for t in execution.totals
    ]
    hosts = sorted({session.host for session in execution.sessions})
    first, last = min(s.start for s in execution.sessions), max(s.end for s in execution.sessions)
    total = sum(t.hours for t in execution.totals)
    known = [t.gpu_hours for t in execution.totals if t.gpu_hours is not None]
    sums = f"Together {total:.3f} hours, {sum(known):.3f} GPU-hours" if known else f"Together {total:.3f} hours"
    unknown = len(execution.totals) - len(known)
    note = f" ({unknown} runs whose number of GPUs is not known are not in it)" if known and unknown else ""
    span = f"on {', '.join(hosts)}, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC."
    return [
        head,
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|---|",
        *rows,
        "",
        f"{sums}{note}, {span}",
        *_clocks(execution.sessions),
        *damaged,
    ]


def _clocks(sessions: Sequence[Session]) -> list[str]:
    """A paragraph on clocks that were set while a session ran; none where none was."""
    wrong = [session for session in sessions if session.clock_was_set]
    if not wrong:
        return []
    named = ", ".join(f"{session.item} start {session.restart + 1} on {session.host}" for session in wrong)
    return [
        "",
        f"The clock of the machine was set during {len(wrong)} of {len(sessions)} sessions ({named}): times of day are "
        "wrong there. Hours are by a clock that nobody sets; of a session whose events lack it they are too few.",
    ]


def _processes(total: RunTotals) -> str:
    return " → ".join(map(str, total.processes)) or "–"


def _images(sessions: Sequence[Session]) -> str:
    """The images that training ran from, or that it ran from none."""
    images = dict.fromkeys(session.image or chain.NO_IMAGE for session in sessions)
    return "; ".join(images) or "no run has its state here"


def _versions(sessions: Sequence[Session]) -> str:
    """Every version of our packages that a start came from, in order; what carries a result is not in its identity."""
    said = (", ".join(f"{name} {digest}" for name, digest in session.versions.items()) for session in sessions)
    return "; ".join(dict.fromkeys(filter(None, said))) or "the events do not say"


def _utilisation(execution: Execution) -> list[str]:
    if not execution.measured:
        return [execution.missing or "MLflow has no system metrics of these runs."]
    means = utilisation.mean_utilisation(execution.measured)
    rows = _pairs({kind: f"{mean:.1f} % on average" for kind, mean in means.items()})
    caption = "dashed: a session was preempted; dotted: it was killed or still runs"
    return [*rows, "", f"![Utilisation over time ({caption})]({FIGURE})"]


def _jobs(jobs: Sequence[Job] | None) -> list[str]:
    if jobs is None:
        return ["No accounting of SLURM here (`sacct` is not installed or did not answer)."]
    if not jobs:
        return [f"SLURM's accounting has no job called {sacct.JOB_NAME} since the first start."]
    hours = sum(job.gpu_hours for job in jobs)
    return [*sacct.jobs_table(jobs), "", f"{len(jobs)} runs of jobs, {hours:.2f} GPU-hours as SLURM counts them."]


def _measured(root: Path, values: AnyParams) -> tuple[list[ItemUtilisation], str | None]:
    try:
        mlflow = open_reader(root, values.tracking.experiment)
    except TrackingError as error:
        return [], str(error)
    if mlflow is None:
        return [], "MLflow has nothing here, so there are no system metrics."
    identities = {item.name: chain.read_identity(root, item.name) for item in TrainItem.all(values)}
    read = (utilisation.read_utilisation(mlflow, name, identity) for name, identity in identities.items() if identity)
    return [measured for measured in read if measured is not None], None


def _pairs(facts: Mapping[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]


def _hours(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
