"""Validation, shared between processes: the same numbers for any number of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from latentwire.models.receiver import Receiver
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
    return Validation(trainer.wire, [reader], trainer.data, EXAMPLES, BATCH, SOLO)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_the_numbers_do_not_depend_on_the_processes(size: int, alone: Validation) -> None:
    expected: Mapping[str, float] = alone()
    assert 0 < expected["accuracy/llama"] < 1
    group = [OneOf(rank, size) for rank in range(size)]
    for one in group:
        one.all = [b"".join(_choices(alone, rank, size) for rank in range(size))]
        assert dataclasses.replace(alone, group=one)() == expected
    assert sum(len(one.gave) for one in group) == 8 * EXAMPLES


def _choices(alone: Validation, rank: int, size: int) -> bytes:
    """What a rank gives, played alone: its batches only."""
    one = OneOf(rank, size)
    with pytest.raises(ValueError, match="reshape"):
        dataclasses.replace(alone, group=one)()
    return one.gave
