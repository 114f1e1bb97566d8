"""Rare labels are drawn more often, by a rule that has one outcome on every machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.tasks.examples import Example
from latentwire.tasks.labelled import labelled_positions
from latentwire.training.drawn_labels import draw_labelled
from latentwire.training.label_balance import balance_draws
from latentwire.training.loop import Trainer
from unbroken.exact.randomness import sample_ids

LABELS = [0] * 53 + [1] * 30 + [2] * 12 + [3] * 4 + [7]


def draw(labels: list[int], count: int, balance: float) -> list[int]:
    return balance_draws(range(len(labels)), dict(enumerate(labels)), count, balance)


@pytest.mark.parametrize(
    ("balance", "expected"),
    [(1.0, {0: 20, 1: 20, 2: 20, 3: 20, 7: 20}), (0.5, {0: 36, 1: 25, 2: 16, 3: 12, 7: 11}), (0.0, Counter(LABELS))],
)
def test_labels_have_their_shares(balance: float, expected: dict[int, int]) -> None:
    """Worked by hand: of 100 draws at one half, label 2 has 50 · 12/100 + 50/5 = 16."""
    counts = Counter(LABELS[position] for position in draw(LABELS, 100, balance))
    assert all(abs(counts[label] - expected[label]) <= 1 for label in expected)
    assert sum(counts.values()) == 100


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    count=st.integers(1, 300),
    balance=st.floats(0, 1, allow_nan=False),
)
@settings(max_examples=200, deadline=None)
def test_every_draw_is_of_the_pool_and_no_share_is_missed_by_one(labels: list[int], count: int, balance: float) -> None:
    draws = draw(labels, count, balance)
    assert len(draws) == count
    assert set(draws) <= set(range(len(labels)))
    sizes, drawn = Counter(labels), Counter(labels[position] for position in draws)
    for label, size in sizes.items():
        share = (1 - Fraction(balance)) * Fraction(size, len(labels)) + Fraction(balance) / len(sizes)
        assert abs(drawn[label] - count * share) < 1
        own = Counter(position for position in draws if labels[position] == label)
        assert max(own.values(), default=0) - min((own[p] for p in own), default=0) <= 1


def test_a_label_is_spread_over_the_whole_training() -> None:
    """Whatever the step, the draws up to it have the labels in about the shares of all draws."""
    draws = draw(LABELS, 400, 0.5)
    total = Counter(LABELS[position] for position in draws)
    for step in range(16, 400, 16):
        so_far = Counter(LABELS[position] for position in draws[:step])
        assert all(abs(so_far[label] - total[label] * step / 400) <= 1.5 for label in total)


def test_examples_of_a_label_come_in_the_order_of_the_pool_and_again_from_the_first() -> None:
    pool, labels = [9, 4, 2, 7], {9: 0, 4: 1, 2: 0, 7: 0}
    draws = balance_draws(pool, labels, 12, 1.0)
    assert [position for position in draws if labels[position] == 0] == [9, 2, 7, 9, 2, 7]
    assert [position for position in draws if labels[position] == 1] == [4] * 6


def with_balance(trainer: Trainer, balance: float) -> Trainer:
    return replace(trainer, settings=trainer.settings.model_copy(update={"balance": balance, "steps": 2}))


def test_without_balance_every_example_is_drawn_once_before_any_is_drawn_again(trainer: Trainer) -> None:
    plain = with_balance(trainer, 0.0)
    for step in (1, 2):
        assert plain.indices(step) == sample_ids(trainer.seed, step, 8, len(trainer.data.features)).tolist()


def test_a_training_with_balance_reads_no_other_examples(trainer: Trainer) -> None:
    """So that baselines which learn from labels have the same ones; here 16 of the 24 that there are."""
    rare = replace(trainer, data=replace(trainer.data, labels=[int(i < 3) for i in range(24)]))
    balanced = with_balance(rare, 1.0)
    drawn = balanced.indices(1) + balanced.indices(2)
    assert set(drawn) <= set(labelled_positions(balanced.settings, trainer.seed, 24))
    assert sum(position < 3 for position in drawn) == 8
    assert balanced.indices(1) == with_balance(rare, 1.0).indices(1) != with_balance(rare, 0.0).indices(1)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_what_else_learns_has_the_draws_of_the_training(trainer: Trainer, balance: float) -> None:
    labels = [int(i < 3) for i in range(24)]
    training = with_balance(replace(trainer, data=replace(trainer.data, labels=labels)), balance)
    drawn = training.indices(1) + training.indices(2)
    train = [Example(f"{i:016x}", "train", f"text {i}", "ab"[label]) for i, label in enumerate(labels)]
    labelled = draw_labelled(training.settings, training.seed, train, ["a", "b"])
    assert dict(zip(labelled.positions, labelled.counts, strict=True)) == Counter(drawn)
    assert [labelled.texts[0], labelled.golds[0]] == [f"text {drawn[0]}", labels[drawn[0]]]
