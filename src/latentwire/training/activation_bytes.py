"""How many bytes a forward saves for its backward."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class SavedActivationBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that forwards save for their backwards, frozen and trained weights left out."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__(self._count, lambda tensor: tensor)
        self._weights = {_storage_key(weight) for weight in weights}
        self._sizes: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """The size of all saved storages, each counted once."""
        return sum(self._sizes.values())

    def _count(self, tensor: Tensor) -> Tensor:
        if _storage_key(tensor) not in self._weights:
            self._sizes[_storage_key(tensor)] = tensor.untyped_storage().nbytes()
        return tensor


def _storage_key(tensor: Tensor) -> int:
    # Not the address of the data: on the `meta` device, all storages have the same one.
    return int(tensor.untyped_storage()._cdata)
