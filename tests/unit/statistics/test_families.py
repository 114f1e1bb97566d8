"""Every difference is declared once: one adjusted p and one verdict, whichever table prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.params.load import Params, load_params
from latentwire.reporting.report_data import read_report_data
from latentwire.reporting.tables import build_tables
from latentwire.statistics.families import Pair, comparison_families
from latentwire.statistics.grid import CHANCE, Grid, GridMethod, expected_grid
from tests.support.synthetic_predictions import NAMES, REPOSITORY, aggregate, build

BASELINES = ("majority", "probe", "text", "calibrated", "truncated", "few_shot", "readout")


def _contrasts(grid: Grid, pairs: Sequence[Pair]) -> list[tuple[object, ...]]:
    """What is compared with what: the answers of two methods in a task, whichever stands first."""
    answers = {}
    for task, _, receiver, a, b in pairs:
        models = [grid.methods[name].model_for(receiver) for name in (a, b)]
        answers[task, receiver, a, b] = (task, frozenset(zip((a, b), models, strict=True)))
    return list(answers.values())


def _assert_declared_once(grid: Grid, reference: str) -> None:
    families = comparison_families(grid, reference)
    counted = Counter(contrast for pairs in families.values() for contrast in _contrasts(grid, pairs))
    assert [contrast for contrast, count in counted.items() if count > 1] == []
    assert all(families.values())


def _assert_none_is_lost(grid: Grid, reference: str) -> None:
    """Every method is set against chance and the reference, and trained ones against every baseline, in every block."""
    declared = {c for pairs in comparison_families(grid, reference).values() for c in _contrasts(grid, pairs)}
    for task in grid.tasks:
        for receiver in grid.receivers:
            present = {n: m.model_for(receiver) for n, m in grid.methods.items() if m.model_for(receiver)}
            trained = [m.name for m in grid.main_methods() if m.name in present]
            wanted = [
                (name, other) for name in present for other in (CHANCE, reference) if not grid.methods[name].control_of
            ]
            wanted += [(name, other.name) for name in trained for other in grid.baselines()]
            for a, b in wanted:
                assert a == b or (task, frozenset({(a, present[a]), (b, present[b])})) in declared, (task, a, b)


def _params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


@pytest.mark.parametrize("reference", BASELINES)
def test_the_parameters_of_this_repository(reference: str) -> None:
    grid = expected_grid(_params())
    _assert_declared_once(grid, reference)
    _assert_none_is_lost(grid, reference)


def test_one_baseline_that_is_chance_and_reference() -> None:
    values = _params()
    alone = values.baseline.model_copy(update={"methods": (CHANCE,)})
    grid = expected_grid(values.model_copy(update={"baseline": alone}))
    _assert_declared_once(grid, CHANCE)
    _assert_none_is_lost(grid, CHANCE)
    assert "versus_reference" not in comparison_families(grid, CHANCE)
    assert "versus_baselines" not in comparison_families(grid, CHANCE)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.sets(st.sampled_from(BASELINES[1:])), st.integers(1, 3), st.data(),
)  # fmt: skip
def test_any_grid(tasks: int, receivers: int, others: set[str], methods: int, chosen: st.DataObject) -> None:
    """Several tasks and trained methods, each with receivers of its own, and any baseline as the reference."""
    names = tuple(f"receiver{number}" for number in range(receivers))
    own = st.sets(st.sampled_from(names), min_size=1)
    trained = [GridMethod(f"wire{n}", tuple(sorted(chosen.draw(own))), (0, 1), True) for n in range(methods)]
    controls = [
        replace(method, name=f"{method.name}-{control}", control_of=method.name)
        for method in trained
        for control in ("shuffled", "noise")
    ]
    alone = {CHANCE: ("none",), "probe": ("sender",)}
    baselines = [
        GridMethod(name, alone.get(name, names), None, False, reads_receiver=name not in alone)
        for name in sorted({CHANCE, *others})
    ]
    grid = Grid(
        tasks={f"task{number}": ("no", "yes") for number in range(tasks)},
        methods={method.name: method for method in (*trained, *baselines, *controls)},
        receivers=names,
    )
    reference = chosen.draw(st.sampled_from([method.name for method in baselines]))
    _assert_declared_once(grid, reference)


@pytest.mark.long
@pytest.mark.parametrize(
    ("reference", "methods"),
    [("text", BASELINES), ("probe", BASELINES), ("majority", BASELINES), ("majority", (CHANCE,))],
)
def test_a_difference_is_printed_with_one_p_and_one_verdict(
    tmp_path: Path, reference: str, methods: tuple[str, ...]
) -> None:
    """Whatever the table, the p behind an id is the same, and bold agrees with the verdict that stands there."""
    values = build(tmp_path, count=80)
    _choose(tmp_path, values, reference, methods)
    stats = aggregate(tmp_path)
    data = read_report_data(tmp_path / "results/aggregate", NAMES)
    printed: dict[str, set[object]] = {}
    for table in build_tables(data):
        marked = [number for number, column in enumerate(table.columns) if "p" in str(column.header)]
        if table.name in (*data.tasks, "versus_chance", "versus_baselines", "ablations"):
            for row in (row for group in table.groups for row in group.rows):
                for key in (key for key in row.ids if key in stats["comparisons"]):
                    printed.setdefault(key, set()).add(tuple(row.cells[number] for number in marked))
    assert printed
    assert {key: cells for key, cells in printed.items() if len(cells) > 1} == {}
    for block in stats["blocks"]:
        for row in block["rows"]:
            against = row["versus_reference"]
            if against and reference == block["best"] and row["method"] in block["tied"]:
                assert stats["comparisons"][against]["adjusted"]["verdict"] == "not different"


def _choose(root: Path, values: dict[str, Any], reference: str, methods: tuple[str, ...]) -> None:
    values["aggregate"]["reference"] = reference
    values["baseline"]["methods"] = list(methods)
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
