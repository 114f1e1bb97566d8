"""What is measured on the validation split, by whole batches of which each process has some, whatever their number.

Shapes: N examples, R receivers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwire.evaluation.scoring import score_messages, write_messages
from latentwire.models.methods import AnyMethod
from latentwire.models.receiver import Receiver
from latentwire.training.loop import LabelledFeatures
from unbroken.exact.fold import owned_shards
from unbroken.exact.group import SOLO, Group


@dataclass(frozen=True)
class Validation:
    """The first `examples` of a split, in batches of `batch`; each process scores some of the batches."""

    method: AnyMethod
    receivers: Sequence[Receiver]
    data: LabelledFeatures
    examples: int
    batch: int
    group: Group = SOLO

    def __call__(self) -> Mapping[str, float]:
        """Accuracy of each receiver and the means of the method's measures, the same on every process."""
        rows = self._rows()
        golds = np.array(self.data.labels[: len(rows)])
        hits = (rows[:, : len(self.receivers)] == golds[:, None]).mean(axis=0)
        accuracies = {f"accuracy/{reader.name}": float(hit) for reader, hit in zip(self.receivers, hits, strict=True)}
        # A correctly rounded sum has one value, in whatever order and on whatever processor.
        means = [math.fsum(column) / len(rows) for column in rows[:, len(self.receivers) :].T.tolist()]
        return {**accuracies, **dict(zip(self.method.measures, means, strict=True))}

    def _rows(self) -> NDArray[np.float64]:
        """Per example the label that each receiver chooses and K measures of its message [N, R + K], in order."""
        count = min(self.examples, len(self.data.labels))
        batches = [range(start, min(start + self.batch, count)) for start in range(0, count, self.batch)]
        owned = owned_shards(self.group.rank, self.group.size, len(batches))
        parts = [self._measure(batches[index]).tobytes() for index in owned]
        everything = b"".join(self.group.all_gather_bytes(b"".join(parts)))
        return np.frombuffer(everything, dtype=np.float64).reshape(
            count, len(self.receivers) + len(self.method.measures)
        )

    def _measure(self, rows: range) -> NDArray[np.float64]:
        sent = write_messages(self.method, self.data.inputs, rows, self.batch)
        scores = [score_messages(self.method, reader, sent, self.batch, lambda _: None) for reader in self.receivers]
        chosen = [score.argmax(dim=1).tolist() for score in scores]
        return np.array([*chosen, *(measure(sent) for measure in self.method.measures.values())], dtype=np.float64).T
