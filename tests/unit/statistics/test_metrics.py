"""Macro-F1 and balanced accuracy: scikit-learn's numbers, their linear parts, draws, and how often intervals cover."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from latentwire.statistics.bootstrap import BootstrapPlan, draw_weights
from latentwire.statistics.comparisons import Settings
from latentwire.statistics.evidence import Evidence
from latentwire.statistics.exact import proportion_interval
from latentwire.statistics.golds import Golds
from latentwire.statistics.grid import Grid, GridMethod
from latentwire.statistics.measures import Measured, by_primary_metric, list_measured, measure_cells
from latentwire.statistics.metrics import RESAMPLED, indicate_classes
from latentwire.statistics.pair_records import compare_pairs, find_opposed
from latentwire.statistics.scores import Matrix, Scores, pair_scores
from latentwire.statistics.twoway import class_degrees, estimate_mean

LABELS = ("w", "x", "y", "z")
RATES = np.array([0.5, 0.35, 0.1, 0.05])
PLAN = BootstrapPlan(200, 3)


def oracle(name: str, golds: Matrix, said: Matrix) -> float:
    if name == "accuracy":
        return float(accuracy_score(golds, said))
    if name == "balanced_accuracy":
        return float(balanced_accuracy_score(golds, said))
    return float(f1_score(golds, said, labels=np.unique(golds), average="macro", zero_division=0))


def measured(golds: Matrix, **answers: Matrix) -> tuple[Measured, Grid, Evidence]:
    """The cells of made-up methods, whose answers are [S, N]; one row is a method without seeds."""
    ids = tuple(f"e{i:04d}" for i in range(len(golds)))
    methods = {
        name: GridMethod(name, ("reader",), tuple(range(len(rows))) if len(rows) > 1 else None, len(rows) > 1)
        for name, rows in answers.items()
    }
    grid = Grid({"t": LABELS}, methods, ("reader",), {"t": "macro_f1"})
    said = {("t", "reader", name): Scores(name, rows, ids, methods[name].seeds) for name, rows in answers.items()}
    right = {
        key: Scores(cell.name, (cell.values == golds).astype(float), ids, cell.seeds) for key, cell in said.items()
    }
    labels = pd.Series([LABELS[int(number)] for number in golds], index=pd.Index(ids))
    evidence = Evidence({"t": Golds(labels, "")}, right, {}, said, {}, {}, {})
    return measure_cells(evidence, grid, PLAN), grid, evidence


def draw_answers(rng: np.random.Generator, examples: int, seeds: int) -> Iterator[Matrix]:
    """Golds [N], then answers of a method with seeds [S, N] that is good at large classes, and of one without."""
    golds = rng.choice(4, size=examples, p=RATES).astype(float)
    difficulty = 0.95 * rng.normal(size=examples)
    yield golds
    ease = np.array([1.0, 0.6, 0.1, -0.4])[golds.astype(int)] + 0.15 * rng.normal(size=(seeds, 1))
    for eases in (ease, np.array([[0.0, 0.2, 0.4, 0.8]])[:, golds.astype(int)]):
        right = difficulty + 0.3 * rng.normal(size=(len(eases), examples)) < eases
        yield np.where(right, golds, rng.choice(4, size=right.shape, p=RATES))


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("classes_said", [4, 3])
def test_every_metric_is_that_of_scikit_learn(classes_said: int) -> None:
    """Also where a class is never said, and where one is said that no text has."""
    rng = np.random.default_rng(1)
    golds = rng.choice([0.0, 1.0, 3.0], size=90)
    said = rng.choice(classes_said, size=(3, 90)).astype(float)
    cells, _, _ = measured(golds, wire=said)
    for _, name, scores in list_measured(cells):
        assert scores.values.mean(axis=1) == pytest.approx([oracle(name, golds, row) for row in said], abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("name", sorted(RESAMPLED))
def test_a_draw_is_the_metric_of_the_texts_that_were_drawn(name: str) -> None:
    golds, _, said = draw_answers(np.random.default_rng(2), 60, 2)
    cells, _, _ = measured(golds, text=said)
    weights = np.concatenate(list(draw_weights(60, PLAN)))
    drawn = [np.repeat(np.arange(60), row.astype(int)) for row in weights[:25]]
    expected = [oracle(name, golds[chosen], said[0][chosen]) for chosen in drawn]
    resampled = cells[name]["t", "reader", "text"].resampled
    assert resampled is not None
    assert resampled.draws[:25] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(RESAMPLED))
def test_a_linear_part_is_what_a_little_weight_of_an_example_changes(name: str) -> None:
    golds, _, said = draw_answers(np.random.default_rng(4), 50, 1)
    metric, linear = RESAMPLED[name]
    wanted, shown = indicate_classes(golds, 4), indicate_classes(said[0], 4)
    parts = linear(wanted * shown, wanted, shown)
    value, little = float(parts.mean()), 1e-6
    for example in (0, 7, 23):
        weights = np.full(50, (1 - little) / 50)
        weights[example] += little
        moved = metric(weights @ (wanted * shown), weights @ wanted, weights @ shown)
        assert (moved - value) / little == pytest.approx(parts[example] - value, abs=1e-4)


@pytest.mark.long
def test_the_intervals_cover_and_those_of_the_linear_parts_alone_do_not() -> None:
    """Unbalanced classes, of which the smallest has about 15 of 300 texts; S = 3 against a method without seeds."""
    rng, runs = np.random.default_rng(5), 150
    truth = _true_values(np.random.default_rng(6))
    inside = {(name, what): 0 for name in RESAMPLED for what in ("cell", "difference", "linear")}
    for _ in range(runs):
        golds, wire, text = draw_answers(rng, 300, 3)
        cells, _, _ = measured(golds, wire=wire, text=text)
        for name in RESAMPLED:
            a, b = (cells[name]["t", "reader", method] for method in ("wire", "text"))
            pair, (own, other) = pair_scores(a, b), truth[name]
            found = {
                "cell": (proportion_interval(estimate_mean(a.paired), 0.95), own),
                "difference": (estimate_mean(pair).interval(0.95), own - other),
                "linear": (estimate_mean(pair.values).interval(0.95), own - other),
            }
            for what, (interval, value) in found.items():
                assert interval is not None
                inside[name, what] += interval[0] <= value <= interval[1]
    shares = {key: count / runs for key, count in inside.items()}
    assert all(0.92 <= share <= 0.995 for (_, what), share in shares.items() if what != "linear"), shares
    assert all(shares[name, "linear"] < shares[name, "difference"] for name in RESAMPLED), shares


def _true_values(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The metrics of a population: many texts, and for the method with seeds many of them."""
    golds, wire, text = draw_answers(rng, 20_000, 40)
    return {
        name: (float(np.mean([oracle(name, golds, row) for row in wire])), oracle(name, golds, text[0]))
        for name in RESAMPLED
    }


def test_few_texts_of_a_class_leave_few_degrees_of_freedom() -> None:
    """Only a class of two varies: one degree; classes of equal variance and size have those of all together."""
    classes = np.array([0.0] * 50 + [1.0] * 2)
    values = np.concatenate([np.ones(50), [0.0, 26.0]])[None]
    assert class_degrees(values, classes) == pytest.approx(1.0)
    even = np.tile([0.0, 1.0], 50)[None]
    assert class_degrees(even, np.repeat([0.0, 1.0], 50)) == pytest.approx(98.0)
    assert class_degrees(np.ones((2, 6)), np.zeros(6)) == np.inf


def test_metrics_that_disagree_in_sign_are_recorded() -> None:
    """A method that says two of four classes only is ahead by accuracy, and behind by both others."""
    golds = np.repeat([0.0, 1.0, 2.0, 3.0], [60, 50, 8, 6])
    wire = np.tile(np.where(golds < 2, golds, 0.0), (3, 1))
    wire[0, 0] = 1.0
    text = np.where(np.arange(124) % 3 == 0, golds, np.where(golds < 2, 1 - golds, golds))[None]
    cells, grid, evidence = measured(golds, wire=wire, text=text)
    settings = Settings(0.95, "text", "holm", 0.95, {"t": "macro_f1"}, resamples=200)
    record = compare_pairs(cells, grid, [("t", "reader", "reader", "wire", "text")], settings)[
        "t/reader/wire-vs-text/macro_f1"
    ]
    by_hand = {name: oracle(name, golds, wire[1]) - oracle(name, golds, text[0]) for name in cells}
    for name, other in record["metrics"].items():
        assert other["value"] == pytest.approx(by_hand[name], abs=0.02)
        assert other["low"] < other["value"] < other["high"]
    assert record["metrics"]["accuracy"]["value"] > 0.3 > 0 > record["metrics"]["balanced_accuracy"]["value"]
    assert record["opposed"] == [name for name in cells if by_hand[name] * by_hand["macro_f1"] < 0]
    assert find_opposed({"accuracy": 0.1, "macro_f1": -0.1, "balanced_accuracy": 0.0}, "accuracy") == ["macro_f1"]
    assert by_primary_metric(evidence, grid, cells).scores == cells["macro_f1"]
    assert record["checkpoint"] is record["single"] is record["effects"]["cohen_h"] is None
