"""What a forward keeps for its backward, counted."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that forwards keep for their backwards, frozen and trained weights left out."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__(self._note, lambda tensor: tensor)
        self._weights = {_identity(weight) for weight in weights}
        self._sizes: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """Of all storages, each once."""
        return sum(self._sizes.values())

    def _note(self, tensor: Tensor) -> Tensor:
        if _identity(tensor) not in self._weights:
            self._sizes[_identity(tensor)] = tensor.untyped_storage().nbytes()
        return tensor


def _identity(tensor: Tensor) -> int:
    # Not the address of the data: on the `meta` device all have the same.
    return int(tensor.untyped_storage()._cdata)
