"""The test of the controls: its chance level, its error rate, and that it finds a planted leak."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentwire.reporting.report_data import read_report_data
from latentwire.statistics.control_records import CONTROL
from latentwire.statistics.multiplicity import holm_adjust
from latentwire.statistics.permutations import permute_answers
from latentwire.statistics.scores import Matrix
from tests.support.synthetic_predictions import NAMES, aggregate
from tests.unit.reporting.printing import print_paper

DEFAULT = 500
"""`prepare.limits.test` of params.yaml."""
TASKS = {"two classes": ((0.5, 0.5), 0.75), "eight classes": ((0.5, 0.32, 0.04, 0.03, 0.03, 0.03, 0.03, 0.02), 0.88)}
"""Frequencies of the classes and accuracy of the wire, as those of Rotten Tomatoes and R8."""
SEEDS, RECEIVERS, CONTROLS = 3, 2, 2


def test_mean_error_and_p_are_those_of_all_permutations() -> None:
    golds, answers = [0, 0, 1, 2, 1, 0], np.array([[0.0, 1, 1, 2, 0, 0], [0, 0, 1, 1, 2, 0]])
    orders = itertools.permutations(range(6))
    shares = np.array([(answers[:, list(order)] == golds).mean() for order in orders])
    found = permute_answers(answers, golds, 20_000, 1)
    assert found.share == pytest.approx((answers == golds).mean())
    assert found.expected == pytest.approx(shares.mean())
    assert found.error == pytest.approx(shares.std())
    assert found.p == pytest.approx((shares >= found.share - 1e-9).mean(), abs=0.01)


def test_chance_is_what_the_answers_own_frequencies_give_and_not_the_majority_class() -> None:
    golds = [0] * 60 + [1] * 40
    answers = np.array([[0.0] * 30 + [1.0] * 70])
    assert permute_answers(answers, golds, 100, 0).expected == pytest.approx(0.3 * 0.6 + 0.7 * 0.4)


def test_one_answer_to_all_can_show_nothing() -> None:
    found = permute_answers(np.zeros((2, 50)), [0] * 30 + [1] * 20, 200, 0)
    assert (found.share, found.expected, found.error, found.p) == (0.6, pytest.approx(0.6), 0.0, 1.0)
    assert CONTROL.detectable({"error": found.error}, 0.05) is None


def _experiments(leak: float, runs: int, stream: int) -> Iterator[list[float]]:
    """p of every control on both tasks and receivers; `leak` of the shuffled control's rows are right."""
    rng = np.random.default_rng(stream)
    for run in range(runs):
        yield [
            permute_answers(answers, golds, 499, run % 4).p
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


def test_a_leak_of_ten_percent_is_flagged_and_an_honest_control_is_not() -> None:
    """By the printed verdicts: Holm over both controls, tasks and receivers, at the sizes of params.yaml."""
    runs = 120
    flagged = sum(min(holm_adjust(p_values)) < 0.05 for p_values in _experiments(0.10, runs, stream=1))  # type: ignore[operator,type-var]
    false = sum(min(holm_adjust(p_values)) < 0.05 for p_values in _experiments(0.0, runs, stream=2))  # type: ignore[operator,type-var]
    assert flagged / runs >= 0.80
    assert false / runs <= 0.05


def test_the_majority_class_does_not_see_that_leak() -> None:
    """What the control was compared with before: a leak of a fifth stays below the most frequent class."""
    frequencies, accuracy = (0.7, 0.2, 0.1), 0.3
    rng = np.random.default_rng(3)
    golds, answers = next(_controls(rng, frequencies, accuracy, 0.2))
    assert permute_answers(answers, golds, 499, 0).p < 0.05
    assert (answers == golds).mean() < (golds == 0).mean()


@pytest.mark.parametrize("task", TASKS)
def test_its_detectable_excess_is_found_in_four_of_five(task: str) -> None:
    """The MDE that is printed, at the level of the family's strictest step."""
    frequencies, accuracy = TASKS[task]
    rng, runs, level, found = np.random.default_rng(4), 150, 0.05 / 8, 0
    golds, honest = next(_controls(rng, frequencies, accuracy, 0.0))
    test = permute_answers(honest, golds, 100, 0)
    excess = CONTROL.detectable({"error": test.error}, level)
    assert excess is not None
    leak = excess / (1 - test.expected)
    for run in range(runs):
        golds, answers = next(_controls(rng, frequencies, accuracy, leak))
        found += permute_answers(answers, golds, 999, run % 4).p < level
    assert 0.68 <= found / runs <= 0.92


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
    assert "not above its permuted answers in any of 4 cases, as it should be" in text
