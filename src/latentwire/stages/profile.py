"""Stage `profile`: what an answer costs on this machine → `reports/execution/`.

No stage of `dvc.yaml`: its numbers differ from one execution to the next, and `dvc.lock` must not (invariant I12).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.exits import entry
from latentwire.params import load as params

if TYPE_CHECKING:
    from latentwire.reporting.facts import Facts

EXAMPLES, REPEATS = 32, 3
TOLERANCE = 2.0


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every way to an answer and write the profile; compare it with another one where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.profile", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="test texts per task")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how often each is done")
    parser.add_argument("--against", type=Path, help="profile.json of another execution; exit 3 where one differs")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest factor between two times")
    options = parser.parse_args(argv)

    from latentwire.profiling import compare
    from latentwire.profiling.write import write

    values, before = params.load(), compare.read(options.against) if options.against else None
    found = profile(values, options.examples, options.repeats)
    for path in write(Path(), found, _facts(values)):
        print(path)
    if before is not None:
        raise SystemExit(_compared(before, found, options.tolerance))


def profile(values: params.Params, examples: int, repeats: int) -> dict[str, Any]:
    """Facts of this machine and a record for every way."""
    from latentwire.console.progress import progress
    from latentwire.execution.report import hardware
    from latentwire.models.build import settle_runtime
    from latentwire.profiling.measure import measure, peak_process_bytes
    from latentwire.profiling.ways import ways
    from unbroken.preemption import StopFlag

    settle_runtime(values.runtime)
    stop, found = StopFlag.install(), []
    for task in values.prepare.tasks:
        chosen = list(ways(values, task, examples))
        with progress(repeats * sum(way.examples for way in chosen), f"profile {task}") as bar:

            def advance(done: int) -> None:
                stop.check()
                bar.advance(done)

            found += measure(chosen, repeats, advance)
    return {
        "examples": examples,
        "repeats": repeats,
        "device": values.runtime.device,
        "machine": hardware(),
        "peak_process_bytes": peak_process_bytes(),
        "ways": found,
    }


def _facts(values: params.Params) -> Facts | None:
    """The statistics, for the figure; None before `aggregate`."""
    from latentwire.reporting.facts import read

    folder = Path("results/aggregate")
    return read(folder, values.report.names) if (folder / "stats.json").is_file() else None


def _compared(before: dict[str, Any], after: dict[str, Any], tolerance: float) -> int:
    from latentwire.profiling.compare import compare
    from latentwire.verification.rows import exit_code, lines

    rows = compare(before, after, tolerance)
    print("\n".join(lines(rows)))
    return exit_code(rows)


if __name__ == "__main__":
    entry(main)
