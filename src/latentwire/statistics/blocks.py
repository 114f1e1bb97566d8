"""The rows of one task and receiver: ids of their numbers, the best method and what ties with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latentwire.statistics.comparisons import UNDECIDED, Settings, StatsRecord, compare_methods, comparison_verdict
from latentwire.statistics.cost_records import cost_record
from latentwire.statistics.evidence import Evidence, Key
from latentwire.statistics.families import cell_id, comparison_id, methods_for_receiver, scope_of
from latentwire.statistics.grid import CHANCE, Grid, GridMethod
from latentwire.statistics.multiplicity import adjust_p_values
from latentwire.statistics.pair_records import pair_cells
from latentwire.statistics.rank_records import block_ranks


def block_records(
    evidence: Evidence,
    grid: Grid,
    settings: Settings,
    cells: Mapping[str, StatsRecord],
    comparisons: Mapping[str, StatsRecord],
) -> list[StatsRecord]:
    """A block for every task and receiver; `comparisons` are the declared ones, corrected."""
    return [
        _Block(evidence, grid, settings, comparisons, task, receiver).record(cells)
        for task in grid.tasks
        for receiver in grid.receivers
    ]


class _Block:
    def __init__(
        self,
        evidence: Evidence,
        grid: Grid,
        settings: Settings,
        comparisons: Mapping[str, StatsRecord],
        task: str,
        receiver: str,
    ) -> None:
        self._evidence, self._grid, self._settings, self._comparisons = evidence, grid, settings, comparisons
        self._task, self._receiver = task, receiver
        self._methods = methods_for_receiver(grid, receiver)

    def record(self, cells: Mapping[str, StatsRecord]) -> StatsRecord:
        """Ids of cells and differences, the best method, its ties and the ranks."""
        contenders = [method.name for method in self._methods if method.control_of is None]
        best = max(contenders, key=lambda name: cells[self._cell(name)]["value"])
        return {
            "task": self._task,
            "receiver": self._receiver,
            "rows": [self._row(method) for method in self._methods],
            "best": best,
            **cost_record({name: cells[self._cell(name)] for name in contenders}, self._settings.reference),
            "tied": self._tied(best, [name for name in contenders if name != best]),
            "ranks": block_ranks(
                [self._evidence.scores[self._key(name)] for name in contenders], contenders, self._settings
            ),
        }

    def _key(self, name: str) -> Key:
        return self._task, str(self._grid.methods[name].model_for(self._receiver)), name

    def _cell(self, name: str) -> str:
        return cell_id(*self._key(name), self._grid.metric_of(self._task))

    def _row(self, method: GridMethod) -> StatsRecord:
        return {
            "method": method.name,
            "cell": self._cell(method.name),
            "versus_reference": self._declared(method.name, self._settings.reference),
            "versus_chance": self._declared(method.name, CHANCE),
        }

    def _declared(self, a: str, b: str) -> str | None:
        """Id of a − b; None where only b − a is declared, or neither."""
        scope = scope_of(self._grid.methods[a], self._grid.methods[b], self._receiver)
        key = comparison_id(self._task, scope, a, b, self._grid.metric_of(self._task))
        return key if key in self._comparisons else None

    def _tied(self, best: str, others: Sequence[str]) -> list[str]:
        """Methods that keep up with the best one and do not differ from it.

        Where a family declares the difference, its verdict holds; the others are corrected as what is left.
        """
        sides = {name: (self._key(name), self._key(best)) for name in others}
        scores = {
            name: pair_cells(self._grid, self._evidence.scores, both, self._settings) for name, both in sides.items()
        }
        against = {name: compare_methods(*both, self._settings) for name, both in scores.items()}
        declared = {name: self._declared(name, best) or self._declared(best, name) for name in others}
        verdicts = {name: self._comparisons[key]["adjusted"]["verdict"] for name, key in declared.items() if key}
        left = {name: record for name, record in against.items() if name not in verdicts}
        corrected = adjust_p_values({name: record["p"] for name, record in left.items()}, self._settings.adjust)
        for name, record in left.items():
            verdicts[name] = comparison_verdict(record, corrected[name], self._settings.alpha)
        return [
            name
            for name, record in against.items()
            if verdicts[name] in UNDECIDED and record["retention"]["outcome"] == "non-inferior"
        ]
