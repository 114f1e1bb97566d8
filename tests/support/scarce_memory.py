"""Steps of a training, and a memory that is too small for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentwire.models.receiver import Receiver


def gradient_bytes(found: tuple[list[Tensor], dict[str, Tensor]]) -> list[bytes]:
    """Those of the gradients and the metrics of a step."""
    return [tensor.numpy().tobytes() for tensor in (*found[0], *found[1].values())]


def limit_memory(monkeypatch: pytest.MonkeyPatch, examples: int) -> list[int]:
    """From now on memory holds this number of examples; returns the sizes that were asked for."""
    asked: list[int] = []
    monkeypatch.undo()
    honest = Receiver.answer_log_likelihoods

    def scarce(self: Receiver, middle: Any, answers: Any) -> Tensor:
        asked.append(len(middle))
        if len(middle) > examples:
            raise torch.OutOfMemoryError("tried to allocate too much")
        return honest(self, middle, answers)

    monkeypatch.setattr(Receiver, "answer_log_likelihoods", scarce)
    return asked
