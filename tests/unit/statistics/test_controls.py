"""The test of the controls: its chance level, its error rate, and that it finds a planted leak."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from latentwire.reporting.report_data import read_report_data
from latentwire.statistics.comparisons import Settings, StatsRecord
from latentwire.statistics.control_records import CONTROL
from latentwire.statistics.excess import excess_parts, excess_record
from latentwire.statistics.families import correct_family
from latentwire.statistics.metrics import indicate_classes
from latentwire.statistics.multiplicity import holm_adjust
from latentwire.statistics.scores import Matrix, Scores
from latentwire.statistics.twoway import estimate_mean
from tests.support.synthetic_predictions import NAMES, aggregate
from tests.unit.reporting.printing import print_paper

DEFAULT = 500
"""`prepare.limits.test` of params.yaml."""
TASKS = {"two classes": ((0.5, 0.5), 0.75), "eight classes": ((0.5, 0.32, 0.04, 0.03, 0.03, 0.03, 0.03, 0.02), 0.88)}
"""Frequencies of the classes and accuracy of the wire, as those of Rotten Tomatoes and R8."""
SEEDS, RECEIVERS, CONTROLS = 3, 2, 2


SETTINGS = Settings(confidence=0.95, reference="text", adjust="holm", retained=0.95)


def _excess(answers: np.ndarray, golds: Any, classes: int = 8) -> StatsRecord:
    matrix = np.asarray(answers, dtype=float)
    names = tuple(f"{number:03d}" for number in range(matrix.shape[1]))
    made = Scores("control", matrix, names, tuple(range(len(matrix))))
    return excess_record(made, np.asarray(golds, dtype=float), classes, SETTINGS)


def _p(answers: np.ndarray, golds: np.ndarray) -> float:
    return float(_excess(answers, golds)["p"])


def test_expected_is_the_mean_of_all_permutations() -> None:
    golds, answers = [0, 0, 1, 2, 1, 0], np.array([[0, 1, 1, 2, 0, 0], [0, 0, 1, 1, 2, 0]])
    shares = [(answers[:, list(order)] == golds).mean() for order in itertools.permutations(range(6))]
    found = _excess(answers, golds)
    assert found["expected"] == pytest.approx(np.mean(shares))
    assert found["value"] == pytest.approx((answers == golds).mean() - np.mean(shares))


def test_parts_are_covariances_of_each_training() -> None:
    rng = np.random.default_rng(0)
    golds, answers = rng.integers(3, size=40), rng.integers(3, size=(4, 40))
    said, wanted = indicate_classes(answers, 3), indicate_classes(golds, 3)
    covariances = [sum(np.cov(one[:, k], wanted[:, k], ddof=0)[0, 1] for k in range(3)) for one in said]
    assert excess_parts(said, wanted).mean(axis=1) == pytest.approx(covariances)


def test_interval_and_p_are_those_of_the_two_way_estimate() -> None:
    rng = np.random.default_rng(1)
    golds, answers = rng.integers(3, size=40), rng.integers(3, size=(4, 40))
    found = _excess(answers, golds, 3)
    excess = estimate_mean(excess_parts(indicate_classes(answers, 3), indicate_classes(golds, 3)))
    assert (found["low"], found["high"]) == excess.interval(0.95)
    assert (found["p"], found["df"], found["variance"]) == (excess.p_above(), excess.df, excess.variance)
    assert (found["S"], found["N"], found["reason"]) == (4, 40, None)


def test_chance_is_what_the_answers_own_frequencies_give_and_not_the_majority_class() -> None:
    golds = [0] * 60 + [1] * 40
    answers = np.array([[0.0] * 30 + [1.0] * 70])
    assert _excess(answers, golds)["expected"] == pytest.approx(0.3 * 0.6 + 0.7 * 0.4)


@pytest.mark.parametrize("said", [[[0.0], [0.0]], [[0.0], [1.0], [7.0]]])
def test_one_answer_to_all_can_show_nothing(said: list[list[float]]) -> None:
    found = _excess(np.repeat(np.array(said), 50, axis=1), [0] * 30 + [1] * 20)
    assert (found["value"], found["low"], found["high"], found["p"]) == (0.0, None, None, 1.0)
    assert found["reason"] == "the scores do not vary"
    assert CONTROL.detectable(found, 0.05) is None


def test_one_training_has_numbers_and_no_test() -> None:
    golds = np.arange(60) % 2
    found = _excess(golds[None], golds, 2)
    assert (found["value"], found["expected"], found["S"]) == (0.5, 0.5, 1)
    assert (found["p"], found["low"], found["high"], found["reason"]) == (None, None, None, "one training")
    assert CONTROL.detectable(found, 0.05) is None


def test_it_is_none_of_those_that_are_corrected() -> None:
    rng, golds = np.random.default_rng(2), np.arange(60) % 2
    several = {str(key): _excess(rng.integers(2, size=(3, 60)), golds, 2) for key in range(3)}
    several["constant"] = _excess(np.zeros((3, 60)), golds, 2)
    records = {"once": _excess(golds[None], golds, 2), **several}
    family = correct_family("controls", list(records), records, SETTINGS, CONTROL)
    assert (family["m"], family["members"]) == (4, ["once", "0", "1", "2", "constant"])
    once = records["once"]["adjusted"]
    assert (once["p"], once["verdict"], once["mde"]) == (None, "one training", None)
    assert "adj" not in once["signature"]
    adjusted = holm_adjust([record["p"] for record in several.values()])
    assert [record["adjusted"]["p"] for record in several.values()] == adjusted
    assert all("|adj:holm|m:4|" in record["adjusted"]["signature"] for record in several.values())


def test_a_family_of_single_trainings_tests_nothing() -> None:
    records = {"once": _excess(np.arange(60)[None] % 2, np.arange(60) % 2, 2)}
    assert correct_family("controls", ["once"], records, SETTINGS, CONTROL)["m"] == 0
    assert records["once"]["adjusted"]["verdict"] == "one training"


def _experiments(leak: float, runs: int, stream: int) -> Iterator[list[float]]:
    """p of every control on both tasks and receivers; `leak` of the shuffled controls' rows are right."""
    rng = np.random.default_rng(stream)
    for _ in range(runs):
        yield [
            _p(answers, golds)
            for frequencies, accuracy in TASKS.values()
            for golds, answers in _controls(rng, frequencies, accuracy, leak)
        ]


def _controls(
    rng: np.random.Generator, frequencies: tuple[float, ...], accuracy: float, leak: float
) -> Iterator[tuple[np.ndarray, Matrix]]:
    """Golds [N] and answers [S, N]: the wire's own answers rolled by a row, and those of noise."""
    golds = rng.choice(len(frequencies), size=DEFAULT, p=frequencies)
    difficulty, leaking = rng.normal(size=DEFAULT), rng.random(DEFAULT) < leak
    for _ in range(RECEIVERS):
        skill = difficulty + 0.8 * rng.normal(size=(SEEDS, DEFAULT))
        wrong = rng.choice(len(frequencies), size=(SEEDS, DEFAULT), p=frequencies)
        right = skill < np.quantile(skill, accuracy)
        shuffled = np.roll(np.where(right, golds, wrong), -1, axis=1)
        yield golds, np.where(leaking, golds, shuffled).astype(float)
        yield golds, rng.choice(len(frequencies), size=(SEEDS, DEFAULT), p=frequencies).astype(float)


@pytest.mark.long
def test_a_leak_of_ten_percent_is_flagged_and_an_honest_control_is_not() -> None:
    """By the printed verdicts: Holm over both controls, tasks and receivers, at the sizes of params.yaml."""
    runs = 200
    flagged = _leaks(0.10, runs, stream=1)
    assert flagged.any(axis=1).mean() >= 0.80
    assert flagged[:, ::CONTROLS].mean() >= 0.50
    assert _leaks(0.15, runs, stream=1)[:, ::CONTROLS].mean() >= 0.90
    assert _leaks(0.0, runs, stream=2).any(axis=1).mean() <= 0.05


def _leaks(leak: float, runs: int, stream: int) -> np.ndarray:
    """Whether each control is called a leak [runs, controls]; every second one, the shuffled wire, is one."""
    adjusted = [holm_adjust(p_values) for p_values in _experiments(leak, runs, stream)]
    return np.array(adjusted, dtype=float) < 0.05


def test_the_majority_class_does_not_see_that_leak() -> None:
    """What the control was compared with before: a leak of a fifth stays below the most frequent class."""
    frequencies, accuracy = (0.7, 0.2, 0.1), 0.3
    rng = np.random.default_rng(3)
    golds, answers = next(_controls(rng, frequencies, accuracy, 0.2))
    assert _p(answers, golds) < 0.05
    assert (answers == golds).mean() < (golds == 0).mean()


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_its_detectable_excess_is_found_in_four_of_five(task: str) -> None:
    """The MDE that is printed, at the level of the family's strictest step, by its median over honest controls.

    Leaking answers vary somewhat more than the honest ones that it is computed from.
    """
    frequencies, accuracy = TASKS[task]
    rng, runs, level = np.random.default_rng(4), 300, 0.05 / 8
    honest = [_excess(answers, golds) for golds, answers in _shuffled(rng, frequencies, accuracy, 0.0, runs)]
    excess = float(np.median([CONTROL.detectable(record, level) for record in honest]))  # type: ignore[arg-type]
    leak = excess / (1 - np.mean([record["expected"] for record in honest]))
    found = [_p(answers, golds) < level for golds, answers in _shuffled(rng, frequencies, accuracy, leak, runs)]
    assert 0.60 <= np.mean(found) <= 0.92


def _shuffled(
    rng: np.random.Generator, frequencies: tuple[float, ...], accuracy: float, leak: float, runs: int
) -> Iterator[tuple[np.ndarray, Matrix]]:
    for _ in range(runs):
        yield next(_controls(rng, frequencies, accuracy, leak))


@pytest.mark.long
def test_a_leak_in_stored_predictions_is_printed(repository: Path) -> None:
    """From files to the paper: half of one control's rows say what is right."""
    golds = pd.read_parquet(repository / "results/prepare/r8/examples.parquet").set_index("example_id")["label"]
    for seed in (0, 1, 2):
        path = repository / f"results/evaluate/wire-r8-{seed}/predictions.parquet"
        frame = pd.read_parquet(path)
        source = {(row.model, row.prediction): row.scores for row in frame.itertuples() if row.method == "wire-noise"}
        chosen = frame.index[(frame["method"] == "wire-noise") & (frame["model"] == "gemma3")][::2]
        for index in chosen:
            gold = golds.loc[frame.at[index, "example_id"]]
            if ("gemma3", gold) in source:
                frame.at[index, "prediction"], frame.at[index, "scores"] = gold, source["gemma3", gold]
        frame.to_parquet(path, index=False)
    stats = aggregate(repository)
    verdicts = {key: record["adjusted"]["verdict"] for key, record in stats["controls"].items()}
    assert [key for key, verdict in verdicts.items() if verdict == "leak"] == [
        "r8/gemma3/wire-noise-vs-permuted/accuracy"
    ]
    assert len(verdicts) == 8
    text = print_paper(read_report_data(repository / "results/aggregate", NAMES), "Title")
    assert "above its permuted answers in 1 of 4 cases; the control fails" in text
    assert "not shown to be above its permuted answers in any of 4 cases, as it should be" in text
