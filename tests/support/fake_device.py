"""A device other than the processor, where there is none: tensors with a device, a type and a shape, and no values.

torch's fake tensors refuse what tensors of two devices do together, as a GPU would. Their device is `meta` here: on a
CPU build, torch ends the process when a fake tensor of a GPU is indexed or differentiated ("not linked with support for
cuda devices"). What asks whether a device is the processor, or the default one, cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

DEVICE = "meta"
MISMATCH = r"same device|on another device|Mismatching .* device"


class KnownValues(TorchFunctionMode):
    """Where a program asks a tensor for numbers, all are 1: labels, lengths of answers, losses."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func is Tensor.tolist and args[0].device.type == DEVICE:
            return _ones(list(args[0].shape))
        if func is Tensor.item and args[0].device.type == DEVICE:
            return 1
        if func is Tensor.__float__ and args[0].device.type == DEVICE:
            return 1.0
        if func is Tensor.cpu and args[0].device.type == DEVICE:
            return torch.ones(args[0].shape, dtype=args[0].dtype, device="cpu")
        if func is Tensor.repeat_interleave and isinstance(args[1], Tensor):
            _check_together(args[0], args[1])
            return args[0].clone()
        if func is nn.functional.embedding:  # fake tensors let ids of the processor pass, a GPU does not
            _check_together(args[0], args[1])
        return func(*args, **(kwargs or {}))


def _ones(shape: list[int]) -> Any:
    return [_ones(shape[1:]) for _ in range(shape[0])] if shape else 1


def _check_together(first: Tensor, second: Tensor) -> None:
    if first.device != second.device:
        raise RuntimeError(f"one tensor is on another device: {first.device} and {second.device}")


@contextmanager
def other_device(*modules: nn.Module) -> Iterator[None]:
    """Within, everything is made on that device, and the weights and buffers of some modules lie there."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(DEVICE), KnownValues():
        for module in modules:
            module.to_empty(device=DEVICE)
        yield
