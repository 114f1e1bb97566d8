"""Ranks over many data sets: published values, R's, and the refusal below six."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from latentwire.errors import EvidenceError
from latentwire.statistics.comparisons import Settings
from latentwire.statistics.grid import Grid, GridMethod
from latentwire.statistics.rank_records import rank_records
from latentwire.statistics.ranks import (
    critical_difference,
    friedman_test,
    nemenyi_quantile,
    pairwise_wilcoxon,
    wilcoxon_p,
)

DEMSAR = np.array(
    [
        *((0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967)),
        *((0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931)),
        *((0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875)),
        *((1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669)),
        *((0.972, 0.981, 0.9751, 0.975), (0.957, 0.978, 0.946, 0.970)),
    ]
)
"""AUC of C4.5 and three variants on 14 data sets (Demšar 2006, table 6)."""

DEPRESSION = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]) - np.array(
    [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
)
DARWIN = np.array([49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])


def test_demsars_example() -> None:
    found = friedman_test(DEMSAR)
    assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    # The paper prints χ² without the correction for ties, and Iman and Davenport's F: both follow from the ranks.
    sets, methods = DEMSAR.shape
    scale = methods * (methods + 1)
    plain = 12 * sets / scale * (float((np.array(found.ranks) ** 2).sum()) - scale * (methods + 1) / 4)
    f = (sets - 1) * plain / (sets * (methods - 1) - plain)
    assert (plain, f) == pytest.approx((9.28, 3.69), abs=5e-3)
    assert found.statistic == pytest.approx(10.228, abs=5e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


@pytest.mark.parametrize(("methods", "expected"), [(2, 1.960), (3, 2.344), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_nemenyi(methods: int, expected: float) -> None:
    assert nemenyi_quantile(methods) == pytest.approx(expected, abs=6e-4)


def test_wilcoxon_on_darwins_maize_and_the_depression_scores() -> None:
    assert wilcoxon_p(DARWIN) == pytest.approx(0.0412598, abs=5e-8)
    one_sided = stats.wilcoxon(DEPRESSION, alternative="greater")
    assert (one_sided.statistic, one_sided.pvalue) == (40, 0.01953125)
    assert wilcoxon_p(DEPRESSION) == pytest.approx(2 * 0.01953125)


@pytest.mark.parametrize("count", [8, 15, 30])
def test_wilcoxon_against_scipy(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.3, 1, size=count)
    method = "exact" if count <= 15 else "approx"
    oracle = stats.wilcoxon(differences, method=method, correction=True)
    assert wilcoxon_p(differences) == pytest.approx(oracle.pvalue)


def test_ties_and_zeros_are_enumerated_and_equal_methods_do_not_differ() -> None:
    """Two of eight are 0: six equal differences of one sign have p = 2 / 2**6."""
    assert wilcoxon_p(np.array([0.0, 0, 1, 1, 1, 1, 1, 1])) == 2 / 2**6
    assert wilcoxon_p(np.zeros(7)) == 1.0


def test_pairs_are_corrected_by_holm() -> None:
    table = np.random.default_rng(1).random((12, 3)) + np.array([0.0, 0.0, 2.0])
    found = pairwise_wilcoxon(table)
    raw = sorted(p for p, _ in found.values())
    assert raw[0] == raw[1] == 2 / 2**12
    assert found[0, 2][1] == pytest.approx(3 * raw[0])


def test_fewer_than_six_data_sets_are_refused() -> None:
    for refused in (
        lambda: friedman_test(DEMSAR[:5]),
        lambda: wilcoxon_p(DARWIN[:5]),
        lambda: critical_difference(4, 5),
    ):
        with pytest.raises(EvidenceError, match=r"over 5 data sets .* at least 6: .* 0\.0625\. Next: read"):
            refused()
    with pytest.raises(EvidenceError, match="given 2 methods, expected at least 3"):
        friedman_test(DEMSAR[:, :2])


def _grid(tasks: int) -> tuple[Grid, dict[str, dict[str, float]]]:
    names = ("wire", "text", "majority")
    methods = {name: GridMethod(name, ("reader",), None, False) for name in names}
    grid = Grid({f"t{i}": ("a", "b") for i in range(tasks)}, methods, ("reader",))
    rng = np.random.default_rng(2)
    return grid, {
        f"t{i}/reader/{name}/accuracy": {"value": float(rng.random() + bonus)}
        for i in range(tasks)
        for name, bonus in zip(names, (2, 1, 0), strict=True)
    }


def test_ranks_are_recorded_from_six_tasks_on_and_otherwise_why_not() -> None:
    settings = Settings(confidence=0.95, reference="text", adjust="holm", retained=0.95)
    grid, cells = _grid(5)
    assert "Ranks over 5 data sets" in rank_records(cells, grid, settings)["all-tasks/reader/ranks"]["reason"]
    grid, cells = _grid(8)
    found = rank_records(cells, grid, settings)["all-tasks/reader/ranks"]
    assert found["methods"] == {"wire": 1.0, "text": 2.0, "majority": 3.0}
    assert found["critical_difference"] == pytest.approx(2.3437 * np.sqrt(3 * 4 / (6 * 8)), abs=1e-3)
    assert len(found["pairs"]) == 3
