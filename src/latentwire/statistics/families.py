"""Which differences are taken, how they are named, and the families in which their p-values are corrected.

A family is declared here, before results exist, over all tasks and receivers; every difference is in exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from latentwire.statistics.claims import ONE_TRAINING
from latentwire.statistics.comparisons import Settings, StatsRecord, comparison_verdict, detectable_difference
from latentwire.statistics.grid import CHANCE, Grid, GridMethod
from latentwire.statistics.multiplicity import adjust_p_values

ALL_TASKS = "all-tasks"
"""Stands in ids where a task would; no task can have this name."""
Pair = tuple[str, str, str, str, str]
"""(task, scope, receiver, a, b); the scope is the receiver, or a's model where neither reads a receiver."""


def cell_id(task: str, model: str, method: str, metric: str) -> str:
    """Id of a metric of a cell; it stays the same as long as the cell is in the grid."""
    return f"{task}/{model}/{method}/{metric}"


def comparison_id(task: str, scope: str, a: str, b: str, metric: str) -> str:
    """Id of a difference."""
    return f"{task}/{scope}/{a}-vs-{b}/{metric}"


def scope_of(a: GridMethod, b: GridMethod, receiver: str) -> str:
    """The receiver that a difference holds for; one between methods that read none is the same for all of them."""
    return receiver if a.reads_receiver or b.reads_receiver else a.models[0]


def methods_for_receiver(grid: Grid, receiver: str) -> list[GridMethod]:
    """Methods that have a row in the block of `receiver`, in the order of the tables."""
    return [method for method in grid.methods.values() if method.model_for(receiver) is not None]


def comparison_families(grid: Grid, reference: str) -> dict[str, list[Pair]]:
    """The families that have members; each is corrected as a whole, and a difference is in one of them only.

    An ablation is compared with the first trained method, with chance and with the reference; with every baseline it
    would be a second main method, whose tests cost those of the first their power.

    What several families would declare (a trained method against the reference is also one against a baseline) belongs
    to the first of them: one difference has one adjusted p and one verdict, wherever it is printed. Controls are
    compared with their own permuted answers (`control_records.py`), and here with the method that they belong to.
    """
    everything = [method.name for method in grid.methods.values() if not method.control_of]
    baselines = [method.name for method in grid.baselines()]
    families = {
        "versus_chance": _pairs(grid, everything, [CHANCE]),
        "versus_baselines": _pairs(grid, [method.name for method in grid.main_methods()], baselines),
        "versus_reference": _pairs(grid, everything, [reference]),
        "ablations": _ablations(grid),
    }
    declared: set[Hashable] = set()
    once = {name: _take_undeclared(grid, pairs, declared) for name, pairs in families.items()}
    return {name: pairs for name, pairs in once.items() if pairs}


def _take_undeclared(grid: Grid, pairs: Sequence[Pair], declared: set[Hashable]) -> list[Pair]:
    """The pairs that no earlier family declares, in either direction; they are added to `declared`."""
    fresh = {key: pair for pair in pairs if (key := _contrast(grid, pair)) not in declared}
    declared.update(fresh)
    return list(fresh.values())


def _contrast(grid: Grid, pair: Pair) -> Hashable:
    """What two pairs have in common that compare the same answers: a − b and b − a are one contrast."""
    task, _, receiver, a, b = pair
    reads = grid.methods[a].reads_receiver or grid.methods[b].reads_receiver
    return task, receiver if reads else None, frozenset((a, b))


def _pairs(grid: Grid, firsts: Sequence[str], seconds: Sequence[str]) -> list[Pair]:
    pairs: dict[str, Pair] = {}
    for task in grid.tasks:
        for receiver in grid.receivers:
            names = {method.name for method in methods_for_receiver(grid, receiver)}
            for a in firsts:
                for b in seconds:
                    if a != b and {a, b} <= names:
                        pair = task, scope_of(grid.methods[a], grid.methods[b], receiver), receiver, a, b
                        pairs.setdefault(pair_id(grid, pair), pair)
    return list(pairs.values())


def _ablations(grid: Grid) -> list[Pair]:
    """The first trained method against the other trained ones, and each against its controls and variants."""
    first, *others = [method.name for method in grid.trained()]
    beside = [(owner, m.name) for m in grid.methods.values() if (owner := m.control_of or m.variant_of)]
    wanted = [*((first, other) for other in others), *beside]
    return [pair for a, b in wanted for pair in _pairs(grid, [a], [b])]


def pair_id(grid: Grid, pair: Pair) -> str:
    """Id of the difference of a pair, by the metric of its task."""
    task, scope, _, a, b = pair
    return comparison_id(task, scope, a, b, grid.metric_of(task))


def comparison_ids(grid: Grid, pairs: Sequence[Pair]) -> list[str]:
    """Ids of the differences of a family."""
    return [pair_id(grid, pair) for pair in pairs]


@dataclass(frozen=True)
class Reading:
    """How the records of a family are read."""

    verdict: Callable[[StatsRecord, float | None, float], str]
    """Record, adjusted p and level → verdict."""
    detectable: Callable[[StatsRecord, float], float | None]
    """Record and the level of a single test → smallest effect that the verdict finds with 80 % power."""


DIFFERENCE = Reading(comparison_verdict, detectable_difference)


def correct_family(
    name: str,
    ids: Sequence[str],
    comparisons: Mapping[str, StatsRecord],
    settings: Settings,
    reading: Reading = DIFFERENCE,
) -> StatsRecord:
    """Correct the p-values of a family, writing them into its comparisons with verdict and detectable effect.

    The effect is that of the strictest step of the correction, α / m, which every verdict passes that is ever found.
    What has one training where the family speaks of trainings is a member, but none of the m that are tested.
    """
    tested = [key for key in ids if comparisons[key]["reason"] != ONE_TRAINING]
    corrected = adjust_p_values({key: comparisons[key]["p"] for key in tested}, settings.adjust)
    for key in ids:
        record, p = comparisons[key], corrected.get(key)
        extra = f"|adj:{settings.adjust}|m:{len(tested)}" if key in corrected else ""
        record["adjusted"] = {
            "family": name,
            "p": p,
            "verdict": reading.verdict(record, p, settings.alpha),
            "mde": reading.detectable(record, settings.alpha / max(len(tested), 1)),
            "signature": record["signature"].replace("|S:", f"{extra}|S:", 1),
        }
    return {"m": len(tested), "adjust": settings.adjust, "alpha": settings.alpha, "members": list(ids)}
