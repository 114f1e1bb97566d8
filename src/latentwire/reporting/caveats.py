"""What has to be said of training runs whose bytes not everyone gets, under every table that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latentwire.reporting.document import join_items, plain_text
from latentwire.reporting.report_data import Record, ReportData

THROUGHPUT = "throughput"
NATIVE = "native"


def list_caveats(data: ReportData, tasks: Sequence[str] | None = None) -> list[str]:
    """Sentences on the runs of these tasks (all for None); none where all were exact, portable and on one numerics."""
    runs = [run for run in data.stats["runs"].values() if tasks is None or run["task"] in tasks]
    return [*_throughput_caveat(runs), *_native_caveat(runs), *_numerics_caveat(runs)]


def _throughput_caveat(runs: Sequence[Record]) -> Iterator[str]:
    names = [_run_name(run) for run in runs if run["mode"] == THROUGHPUT]
    if names:
        yield (
            "Throughput mode: not exactly reproducible over GPU counts, because sums depend on how many share a step: "
            f"{plain_text(join_items(names))}."
        )


def _native_caveat(runs: Sequence[Record]) -> Iterator[str]:
    # Statistics from before there was a choice do not say it.
    if any(run.get("numerics") == NATIVE for run in runs):
        yield (
            "Native numerics: computed with the best kernels of one kind of processor or GPU; other kinds give other "
            "bits."
        )


def _numerics_caveat(runs: Sequence[Record]) -> Iterator[str]:
    """A change of numerics is another GPU architecture or build of the software, noticed on resuming."""
    changes = [f"{_run_name(run)} at step {_steps(run)}" for run in runs if run["numerics_changed"]]
    if changes:
        yield (
            f"Numerics changed while training ({plain_text(join_items(changes))}): the machines before and after give "
            "other bits, so these weights can be reproduced only by the same change at the same step."
        )


def _steps(run: Record) -> str:
    return plain_text(join_items([str(step) for step in run["numerics_changed"]]))


def _run_name(run: Record) -> str:
    return f"{run['method']}-{run['task']}-{run['seed']}"
