"""Trained wires and this machine → `reports/execution/profile.*`: what an answer costs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentwire.console.progress import stoppable_progress
from latentwire.execution.report import describe_hardware
from latentwire.models.build import configure_torch
from latentwire.params.load import Params
from latentwire.profiling import compare
from latentwire.profiling.inference_paths import list_inference_paths
from latentwire.profiling.measure import measure_inference_paths, peak_process_bytes
from latentwire.profiling.write import write_profile
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.verification.rows import format_rows, verification_exit_code


def profile_machine(values: Params, examples: int, repeats: int, against: Path | None, tolerance: float) -> int:
    """Measure every path to an answer and write the profile; compare it with the one at `against`, where given.

    Returns:
        The exit code: 3 where a time differs by more than a factor of `tolerance`, else 0.
    """
    before = compare.read_profile(against) if against else None
    profile = _measure(values, examples, repeats)
    for path in write_profile(Path(), profile, _read_statistics(values)):
        print(path)
    if before is None:
        return 0
    rows = compare.compare_profiles(before, profile, tolerance)
    print("\n".join(format_rows(rows)))
    return verification_exit_code(rows)


def _measure(values: Params, examples: int, repeats: int) -> dict[str, Any]:
    """Facts of this machine and a record for every path."""
    configure_torch(values.runtime)
    records = []
    for task in values.prepare.tasks:
        paths = list(list_inference_paths(values, task, examples))
        with stoppable_progress(repeats * sum(path.examples for path in paths), f"profile {task}") as advance:
            records += measure_inference_paths(paths, repeats, advance)
    return {
        "examples": examples,
        "repeats": repeats,
        "device": values.runtime.device,
        "machine": describe_hardware(),
        "peak_process_bytes": peak_process_bytes(),
        "ways": records,
    }


def _read_statistics(values: Params) -> ReportData | None:
    """The statistics, for the figure; None before `aggregate`."""
    folder = Path("results/aggregate")
    return read_report_data(folder, values.report.names) if (folder / "stats.json").is_file() else None
