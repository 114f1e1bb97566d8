"""Validation, shared between processes: the same numbers for any number of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from latentwire.evaluation.scoring import write_messages
from latentwire.models.receiver import Receiver
from latentwire.models.slot_diversity import effective_ranks, slot_cosines
from latentwire.models.wire import Adapter, Resampler, Wire
from latentwire.training.assemble import make_gradients
from latentwire.training.loop import Trainer
from latentwire.training.validation import Validation
from unbroken.exact.group import SOLO, Solo

EXAMPLES, BATCH = 21, 4


class OneOf(Solo):
    """A rank that is played before or after the others: it keeps what it gives and gets what all gave."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.gave = b""
        self.all: list[bytes] = []

    def all_gather_bytes(self, payload: bytes) -> list[bytes]:
        self.gave = payload
        return self.all or [payload]


@pytest.fixture
def alone(trainer: Trainer, reader: Receiver) -> Validation:
    return Validation(trainer.method, [reader], trainer.data, EXAMPLES, BATCH, SOLO)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_the_numbers_do_not_depend_on_the_processes(size: int, alone: Validation) -> None:
    expected: Mapping[str, float] = alone()
    assert sorted(expected) == ["accuracy/llama", "effective_rank", "slot_cosine"]
    assert 0 < expected["accuracy/llama"] < 1
    group = [OneOf(rank, size) for rank in range(size)]
    for one in group:
        one.all = [b"".join(_choices(alone, rank, size) for rank in range(size))]
        assert dataclasses.replace(alone, group=one)() == expected
    assert sum(len(one.gave) for one in group) == 3 * 8 * EXAMPLES  # a choice and two diversities of each


def test_diversities_are_means_over_the_wires_of_the_split(alone: Validation) -> None:
    measured, data = alone(), alone.data
    wires = write_messages(alone.method, data.inputs, range(EXAMPLES), BATCH)
    assert measured["slot_cosine"] == pytest.approx(sum(slot_cosines(wires)) / EXAMPLES)
    assert measured["effective_rank"] == pytest.approx(sum(effective_ranks(wires)) / EXAMPLES)
    assert measured["slot_cosine"] < 0.9


def test_a_wire_of_one_slot_has_no_cosine(alone: Validation, reader: Receiver) -> None:
    wire = Wire(Resampler(alone.data.features.width, 1, 8, 1, 2, 0.1), {"llama": Adapter(8, 8, reader.width, 1.0)})
    measured = dataclasses.replace(alone, method=wire)()
    assert sorted(measured) == ["accuracy/llama", "effective_rank"]
    assert measured["effective_rank"] == pytest.approx(1)


def test_slots_still_differ_after_some_steps(trainer: Trainer, alone: Validation) -> None:
    optimizer, gradients = trainer.make_optimizer(), make_gradients(trainer)
    for step in range(1, trainer.settings.steps + 1):
        trainer.method.train()
        for parameter, gradient in zip(trainer.method.parameters(), gradients(step)[0], strict=True):
            parameter.grad = gradient
        optimizer.step()
    measured = alone()
    assert measured["slot_cosine"] < 0.9
    assert measured["effective_rank"] > 1.5


def _choices(alone: Validation, rank: int, size: int) -> bytes:
    """What a rank gives, played alone: its batches only."""
    one = OneOf(rank, size)
    with pytest.raises(ValueError, match="reshape"):
        dataclasses.replace(alone, group=one)()
    return one.gave
