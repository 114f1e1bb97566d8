"""Accuracy on the validation split, shared between processes by whole batches, so that it does not depend on them.

Shapes: N examples, C labels, R receivers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentwire.evaluation.scoring import score_wires, write_wires
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.training.loop import LabelledFeatures
from unbroken.exact.fold import owned_shards
from unbroken.exact.group import SOLO, Group


@dataclass(frozen=True)
class Validation:
    """The first `examples` of a split, in batches of `batch`; each process scores some of the batches."""

    wire: Wire
    receivers: Sequence[Receiver]
    data: LabelledFeatures
    examples: int
    batch: int
    group: Group = SOLO

    def __call__(self) -> Mapping[str, float]:
        """Accuracy of each receiver, the same on every process."""
        chosen = torch.tensor(self._choices())
        golds = torch.tensor(self.data.labels[: len(chosen)])
        hits = (chosen == golds[:, None]).double().mean(dim=0)
        return {f"accuracy/{reader.name}": float(hit) for reader, hit in zip(self.receivers, hits, strict=True)}

    def _choices(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Label that each receiver chooses for each example [N, R], gathered in order."""
        count = min(self.examples, len(self.data.labels))
        batches = [range(start, min(start + self.batch, count)) for start in range(0, count, self.batch)]
        owned = owned_shards(self.group.rank, self.group.size, len(batches))
        chosen = [self._chosen(batches[index]).cpu().numpy().tobytes() for index in owned]
        everything = b"".join(self.group.all_gather_bytes(b"".join(chosen)))
        return np.frombuffer(everything, dtype=np.int64).reshape(count, len(self.receivers))

    def _chosen(self, rows: range) -> Tensor:
        wires = write_wires(self.wire, self.data.features, rows, self.data.length, self.batch)
        scores = [score_wires(self.wire, reader, wires, self.batch, lambda _: None) for reader in self.receivers]
        return torch.stack([score.argmax(dim=1) for score in scores], dim=1)
