"""The test of an excess on simulated trainings: the error rate that a permutation over the texts has not, and power."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from latentwire.statistics import excess
from latentwire.statistics.excess import excess_parts
from latentwire.statistics.metrics import indicate_classes
from latentwire.statistics.scores import Matrix
from latentwire.statistics.twoway import Estimate, estimate_mean

pytestmark = pytest.mark.long

TEXTS, KINDS, ORDERS, LEVEL = 500, 6, 199, 0.05
FREQUENCIES = {"two": (0.5, 0.5), "eight": (0.5, 0.32, 0.04, 0.03, 0.03, 0.03, 0.03, 0.02)}
"""Of the classes, as those of Rotten Tomatoes and R8."""
LEANING = {"no": 0.0, "strong": 1.0}
"""How far a training leans to a class for a kind of text, as standard deviation on the scale of log-likelihoods."""


def simulate(rng: np.random.Generator, classes: str, trainings: int, leaning: float) -> tuple[Matrix, Matrix]:
    """Golds [N] and answers [S, N] of trainings that know nothing of the labels.

    Every class has its own mixture of kinds of texts, and every training answers each kind by a lean of its own: one
    agrees with the golds, the next one as much with the opposite, and the excess is 0 on average over trainings.
    """
    frequencies = np.array(FREQUENCIES[classes])
    golds = rng.choice(len(frequencies), size=TEXTS, p=frequencies)
    mixtures = rng.dirichlet(np.ones(KINDS), size=len(frequencies)).cumsum(axis=1)
    kinds = (rng.random((TEXTS, 1)) > mixtures[golds, :-1]).sum(axis=1)
    lean = leaning * rng.normal(size=(trainings, KINDS, len(frequencies))) + np.log(frequencies)
    answers = (lean[:, kinds] + rng.gumbel(size=(trainings, TEXTS, len(frequencies)))).argmax(axis=2)
    return golds.astype(float), answers.astype(float)


def estimate(golds: Matrix, answers: Matrix, classes: str) -> Estimate:
    count = len(FREQUENCIES[classes])
    return estimate_mean(excess_parts(indicate_classes(answers, count), indicate_classes(golds, count)))


@cache
def _orders() -> np.ndarray:
    return np.random.default_rng(0).permuted(np.tile(np.arange(TEXTS), (ORDERS, 1)), axis=1)


def permutation_p(golds: Matrix, answers: Matrix) -> float:
    """The test that was published before: the texts' golds in another order, all trainings together."""
    hits = (answers[None] == np.arange(golds.max() + 1)[:, None, None]).mean(axis=1)
    reached = (
        hits[golds.astype(int)[_orders()], np.arange(TEXTS)].mean(axis=1) >= (answers == golds).mean() - 1e-9
    ).sum()
    return float((reached + 1) / (ORDERS + 1))


@pytest.mark.parametrize("classes", FREQUENCIES)
@pytest.mark.parametrize("trainings", [3, 5])
def test_lucky_trainings_are_knowledge_to_a_permutation_of_texts_and_not_to_this_test(
    classes: str, trainings: int
) -> None:
    rng, runs = np.random.default_rng(trainings), 4000
    made = [simulate(rng, classes, trainings, LEANING["strong"]) for _ in range(runs)]
    by_texts = [permutation_p(*one) < LEVEL for one in made[:300]]
    by_trainings = [(estimate(*one, classes).p_above() or 1.0) < LEVEL for one in made]
    assert np.mean(by_texts) > 0.15
    assert np.mean(by_trainings) <= 0.06


@pytest.mark.parametrize("classes", FREQUENCIES)
def test_one_training_is_a_leak_to_a_permutation_of_texts_as_often_as_luck_has_it(classes: str) -> None:
    """Why a single one has no verdict here: no test of its texts knows what the next training would do."""
    rng, runs = np.random.default_rng(1), 200
    found = sum(permutation_p(*simulate(rng, classes, 1, LEANING["strong"])) < LEVEL for _ in range(runs))
    assert found / runs > 0.15


@pytest.mark.parametrize("classes", FREQUENCIES)
def test_trainings_that_do_not_lean_are_not_called_leaks_either(classes: str) -> None:
    rng, runs = np.random.default_rng(2), 500
    wrong = sum((estimate(*simulate(rng, classes, 3, 0.0), classes).p_above() or 1.0) < LEVEL for _ in range(runs))
    assert wrong / runs <= 0.06


def test_the_estimated_frequencies_need_their_correction() -> None:
    """right − q(gold) alone varies more than its mean does, since a frequent answer is also often right."""
    rng, frequencies = np.random.default_rng(3), np.array((0.9, 0.1))
    means, corrected, plain = [], [], []
    for _ in range(2000):
        golds = rng.choice(2, size=TEXTS, p=frequencies).astype(float)
        answers = rng.choice(2, size=(1, TEXTS)).astype(float)
        parts = excess_parts(indicate_classes(answers, 2), indicate_classes(golds, 2))
        share = indicate_classes(answers, 2)[0].mean(axis=0)
        means.append(parts.mean())
        corrected.append(estimate_mean(parts).variance)
        plain.append(estimate_mean((answers == golds) - share[golds.astype(int)]).variance)
        assert ((answers == golds) - share[golds.astype(int)]).mean() == pytest.approx(parts.mean(), abs=1e-12)
    assert np.mean(corrected) == pytest.approx(np.var(means), rel=0.1)
    assert np.mean(plain) > 2 * np.var(means)


def _documented() -> dict[tuple[str, str, int], float]:
    """(classes, leaning, trainings) → the power that the module's docstring states."""
    rows = [line.strip("| ").split(" | ") for line in (excess.__doc__ or "").splitlines() if line.startswith("| ")]
    trainings = [int(count) for count in rows[0][1:]]
    found = {}
    for name, *cells in rows[1:]:
        classes, leaning = re.fullmatch(r"(\w+) classes, (\w+) leaning", name).groups()  # type: ignore[union-attr]
        found |= {
            (classes, leaning, count): float(cell.rstrip(" %")) / 100
            for count, cell in zip(trainings, cells, strict=True)
        }
    return found


@pytest.mark.parametrize(("classes", "leaning"), [(classes, leaning) for classes in FREQUENCIES for leaning in LEANING])
def test_the_documented_power_is_the_simulated_one(classes: str, leaning: str) -> None:
    """A tenth of the answers, on the same texts in every training, knows what is right; one control, level 5 %."""
    runs, table = 500, _documented()
    for trainings in sorted({count for *_, count in table}):
        rng, found = np.random.default_rng(trainings), 0
        for _ in range(runs):
            golds, answers = simulate(rng, classes, trainings, LEANING[leaning])
            leaking = np.where(rng.random(TEXTS) < 0.10, golds, answers)
            found += (estimate(golds, leaking, classes).p_above() or 1.0) < LEVEL
        assert table[classes, leaning, trainings] == pytest.approx(found / runs, abs=0.02)
