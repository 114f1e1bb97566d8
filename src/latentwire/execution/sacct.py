"""What SLURM's accounting knows of the jobs; the parser is pure."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

JOB_NAME = "latentwire"
FIELDS = ("JobID", "JobName", "State", "ExitCode", "Start", "End", "ElapsedRaw", "AllocTRES", "NodeList")
SACCT_TIMEOUT_S = 60
"""The longest wait for a slow accounting daemon."""


@dataclass(frozen=True)
class Job:
    """One run of a job; a requeued job has several."""

    id: str
    name: str
    state: str
    exit_code: str
    start: str
    end: str
    seconds: int
    gpus: int
    cpus: int
    nodes: str

    @property
    def gpu_hours(self) -> float:
        """GPUs times wall time."""
        return self.gpus * self.seconds / 3600


def sacct_command(since: str) -> list[str]:
    """The sacct command for all our jobs since a day (2026-01-31), requeued runs included."""
    options = ["--parsable2", "--noheader", "--allocations", "--duplicates", f"--name={JOB_NAME}"]
    return ["sacct", *options, f"--starttime={since}", f"--format={','.join(FIELDS)}"]


def query_jobs(since: str) -> list[Job] | None:
    """Jobs since a day; None where there is no SLURM or its accounting does not answer."""
    if shutil.which("sacct") is None:
        return None
    try:
        done = subprocess.run(
            sacct_command(since),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=SACCT_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_jobs(done.stdout) if done.returncode == 0 else None


def parse_jobs(text: str) -> list[Job]:
    """Jobs in the output of `sacct --parsable2 --noheader`; lines of another shape, such as warnings, are skipped."""
    rows = (line.split("|") for line in text.splitlines())
    return [_job(dict(zip(FIELDS, row, strict=True))) for row in rows if len(row) == len(FIELDS)]


def gpus_from_tres(tres: str) -> int:
    """GPUs in a list of trackable resources; with the total and its types, the total counts."""
    counts = {name: int(count) for name, count in re.findall(r"gres/gpu(:[^=,]+)?=(\d+)", tres)}
    return counts[""] if "" in counts else sum(counts.values())


def jobs_table(jobs: Sequence[Job]) -> list[str]:
    """The jobs as Markdown."""
    head = [
        "| job | state | exit | start | end | hours | CPUs | GPUs | nodes |",
        "|---|---|---|---|---|--:|--:|--:|---|",
    ]
    rows = (
        f"| {j.id} | {j.state} | {j.exit_code} | {j.start} | {j.end} | {j.seconds / 3600:.2f} | {j.cpus} | {j.gpus} "
        f"| {j.nodes} |"
        for j in jobs
    )
    return [*head, *rows]


def _job(row: dict[str, str]) -> Job:
    cpus = re.search(r"(?:^|,)cpu=(\d+)", row["AllocTRES"])
    return Job(
        id=row["JobID"],
        name=row["JobName"],
        state=row["State"].split(" ")[0],  # "CANCELLED by 1000"
        exit_code=row["ExitCode"],
        start=row["Start"],
        end=row["End"],
        seconds=int(row["ElapsedRaw"] or 0),
        gpus=gpus_from_tres(row["AllocTRES"]),
        cpus=int(cpus[1]) if cpus else 0,
        nodes=row["NodeList"],
    )
