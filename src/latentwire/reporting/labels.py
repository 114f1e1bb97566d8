"""What has to be said of training runs that were not exact, under every table that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latentwire.reporting.facts import Facts, Record
from latentwire.reporting.numbers import Tex, escape, listed

THROUGHPUT = "throughput"


def labels(facts: Facts, tasks: Sequence[str] | None = None) -> list[Tex]:
    """Sentences on the runs of these tasks (all for None); none where every run was exact and on one numerics."""
    runs = [run for run in facts.stats["runs"].values() if tasks is None or run["task"] in tasks]
    return [*_throughput(runs), *_changed(runs)]


def _throughput(runs: Sequence[Record]) -> Iterator[Tex]:
    names = [_name(run) for run in runs if run["mode"] == THROUGHPUT]
    if names:
        yield Tex(
            f"Throughput mode: not exactly reproducible over GPU counts, because sums depend on how many share a step: "
            f"{listed(names)}."
        )


def _changed(runs: Sequence[Record]) -> Iterator[Tex]:
    """A change of numerics is another GPU architecture or build of the software, noticed on resuming."""
    changed = [run for run in runs if run["numerics_changed"]]
    if changed:
        parts = [
            Tex(f"{escape(_name(run))} at step {listed(list(map(str, run['numerics_changed'])))}") for run in changed
        ]
        yield Tex(
            f"Numerics changed while training ({listed(parts)}): the machines before and after give other bits, so "
            "these weights can be had again only by the same change at the same step."
        )


def _name(run: Record) -> str:
    return f"{run['method']}-{run['task']}-{run['seed']}"
