"""What the trainers' libraries keep for a whole process, and a test must not hand on to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState, GradientState


@pytest.fixture(autouse=True)
def no_accelerator_of_an_earlier_test() -> Iterator[None]:
    """An `AcceleratorState` is made once per process and refuses another precision; the HF Trainer makes one too."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()  # it holds every loader, where a census finds it
