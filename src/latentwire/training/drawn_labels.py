"""Which labelled examples a training reads, and how often: what else learns from labels learns from these, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from latentwire.params.sections import Train
from latentwire.tasks.examples import Example
from latentwire.tasks.labelled import Labelled, labelled_positions
from latentwire.training.label_balance import balance_draws


def count_draws(settings: Train, seed: int, labels: Sequence[int]) -> dict[int, int]:
    """Position → how often `train.steps` batches of a seed draw it from a split with these labels.

    In the order of the first draw. Without `train.balance` all are drawn alike, and counted once.
    """
    pool = labelled_positions(settings, seed, len(labels))
    if not settings.balance:
        return dict.fromkeys(pool, 1)
    return Counter(balance_draws(pool, dict(enumerate(labels)), settings.steps * settings.batch, settings.balance))


def draw_labelled(settings: Train, seed: int, train: Sequence[Example], labels: Sequence[str]) -> Labelled:
    """The examples that a training with this seed reads; `labels` are the task's label keys."""
    golds = [labels.index(example.label) for example in train]
    drawn = count_draws(settings, seed, golds)
    chosen = list(drawn)
    texts, own = [train[row].text for row in chosen], [golds[row] for row in chosen]
    return Labelled(chosen, texts, own, list(drawn.values()))
