"""Which examples a training reads with their labels: what else learns from labels learns from the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentwire.params.sections import Train
from unbroken.exact.randomness import sample_ids


def labelled_positions(settings: Train, seed: int, count: int) -> list[int]:
    """Positions of the examples that `train.steps` batches of a seed draw from a split of `count`, each once.

    They stand in the order of their first draw; where a training goes through its split more than once, all are in.
    """
    steps = range(1, min(settings.steps, -(-count // settings.batch)) + 1)
    draws = (int(position) for step in steps for position in sample_ids(seed, step, settings.batch, count))
    return list(dict.fromkeys(draws))


@dataclass(frozen=True)
class Labelled:
    """The labelled examples of a training split that a seed draws."""

    positions: Sequence[int]
    """[n] positions in the training split."""
    texts: Sequence[str]
    golds: Sequence[int]
    """[n] positions of their labels among those of the task."""
    counts: Sequence[int]
    """[n] how often each is drawn."""

    def choose_in_turn(self, count: int) -> Labelled:
        """The first `count` of them, one of each label in turn, so that no label is shown more often than it must be.

        A label that has no more examples is passed over; all are chosen where there are not more than `count`.
        """
        turns = [self.golds[:row].count(label) for row, label in enumerate(self.golds)]
        chosen = sorted(range(len(self)), key=lambda row: turns[row])[:count]
        return Labelled(
            [self.positions[row] for row in chosen],
            [self.texts[row] for row in chosen],
            [self.golds[row] for row in chosen],
            [self.counts[row] for row in chosen],
        )

    def __len__(self) -> int:
        return len(self.positions)
