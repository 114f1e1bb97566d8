"""Labels in an order that says nothing of the texts: what a training makes of them is chance, or a leak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unbroken.exact.randomness import derive_seed


def permute_labels(labels: Sequence[int], seed: int) -> list[int]:
    """The same labels in another order, which the seed alone decides; every label stays as frequent as it is."""
    # numpy promises the raw stream for all versions.
    raw = np.random.PCG64(derive_seed(seed, 0, 0, "control/permuted labels")).random_raw(len(labels))
    return [labels[position] for position in np.argsort(raw, kind="stable").tolist()]
