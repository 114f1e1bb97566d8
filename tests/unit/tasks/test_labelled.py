"""What learns from labels learns from those that a training reads, and from no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire.params.load import load_params
from latentwire.params.sections import Train
from latentwire.tasks.examples import Example
from latentwire.tasks.labelled import Labelled, labelled_positions
from latentwire.training.drawn_labels import draw_labelled
from unbroken.exact.randomness import sample_ids

DEFAULT = load_params(Path(__file__).parents[3] / "params.yaml").train


def settings(steps: int, batch: int) -> Train:
    return DEFAULT.model_copy(update={"steps": steps, "batch": batch, "balance": 0.0})


def test_the_default_training_reads_1024_labels_of_2048() -> None:
    positions = labelled_positions(DEFAULT, 0, 2048)
    assert len(positions) == len(set(positions)) == DEFAULT.steps * DEFAULT.batch == 1024


@pytest.mark.parametrize(("steps", "batch", "count"), [(3, 4, 50), (9, 8, 30), (1, 64, 10), (40, 3, 7)])
@pytest.mark.parametrize("seed", [0, 5])
def test_they_are_those_of_the_steps_batches(steps: int, batch: int, count: int, seed: int) -> None:
    """Also where the split is gone through several times."""
    drawn = {int(i) for step in range(1, steps + 1) for i in sample_ids(seed, step, batch, count)}
    positions = labelled_positions(settings(steps, batch), seed, count)
    assert set(positions) == drawn
    assert len(positions) == min(steps * batch, count)
    assert positions[: min(batch, count)] == list(dict.fromkeys(sample_ids(seed, 1, batch, count).tolist()))


def test_texts_and_labels_are_those_at_the_positions() -> None:
    train = [Example(f"{i:016x}", "train", f"text {i}", "ab"[i % 2]) for i in range(9)]
    labelled = draw_labelled(settings(1, 4), 1, train, ["b", "a"])
    assert len(labelled) == len(labelled.texts) == len(labelled.golds) == 4
    for position, text, gold in zip(labelled.positions, labelled.texts, labelled.golds, strict=True):
        assert (train[position].text, train[position].label) == (text, ["b", "a"][gold])


@pytest.mark.parametrize(("count", "expected"), [(1, "a"), (3, "abc"), (5, "abcab"), (6, "abcaba"), (99, "abcabaa")])
def test_examples_to_show_are_of_each_label_in_turn(count: int, expected: str) -> None:
    """A label that has no more is passed over, and the first examples of a label come first."""
    golds = [0, 0, 1, 0, 2, 1, 0]
    labelled = Labelled(list(range(10, 17)), [f"text {i}" for i in range(7)], golds, [1] * 7)
    chosen = labelled.choose_in_turn(count)
    assert "".join("abc"[gold] for gold in chosen.golds) == expected
    assert list(chosen.texts) == [labelled.texts[position - 10] for position in chosen.positions]
    for label in set(chosen.golds):
        rows = [p - 10 for p, gold in zip(chosen.positions, chosen.golds, strict=True) if gold == label]
        assert rows == [i for i, gold in enumerate(golds) if gold == label][: len(rows)]
