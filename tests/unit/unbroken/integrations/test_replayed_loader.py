"""A loader that goes on inside an epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, WeightedRandomSampler

from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import seed_all
from unbroken.integrations.replayed_loader import ReplayedLoader

SIZE, BATCH = 10, 3


class Augmented(Dataset[torch.Tensor]):
    """Draws from every global generator, and from one of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = [random.random(), np.random.rand(), torch.rand(()).item(), self.rng.random()]
        return torch.tensor([index, *noise], dtype=torch.float64)


class Endless(IterableDataset[torch.Tensor]):
    """A stream without a length."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        for number in range(SIZE):
            yield torch.rand(2) + number


class Lazy(Sampler[int]):
    """Draws each index when it is asked for, also ahead of time."""

    def __iter__(self) -> Iterator[int]:
        return (int(torch.randint(SIZE, ())) for _ in range(SIZE))

    def __len__(self) -> int:
        return SIZE


class Counting(Sampler[int]):
    """Another order in each epoch, of which it counts itself."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(torch.randperm(SIZE, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def __len__(self) -> int:
        return SIZE


LOADERS: dict[str, Any] = {
    "shuffled": lambda: DataLoader(Augmented(), BATCH, shuffle=True),
    "own generator": lambda: DataLoader(Augmented(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(5)),
    "sampler's generator": lambda: DataLoader(
        Augmented(), BATCH, sampler=RandomSampler(range(SIZE), generator=torch.Generator().manual_seed(6))
    ),
    "weighted": lambda: DataLoader(Augmented(), BATCH, sampler=WeightedRandomSampler([1.0] * SIZE, SIZE)),
    "lazy": lambda: DataLoader(Augmented(), BATCH, sampler=Lazy()),
    "counting": lambda: DataLoader(Augmented(), BATCH, sampler=Counting(), drop_last=True),
    "stream": lambda: DataLoader(Endless(), BATCH),
    "two workers": lambda: DataLoader(Augmented(), BATCH, shuffle=True, num_workers=2),
    "lazy, a worker": lambda: DataLoader(Augmented(), BATCH, sampler=Lazy(), num_workers=1),
    "persistent": lambda: DataLoader(Augmented(), BATCH, shuffle=True, num_workers=1, persistent_workers=True),
}


def take_steps(loader: ReplayedLoader, count: int) -> Iterator[torch.Tensor]:
    """Batches of as many epochs as it needs, each trained on by a model that draws, too."""
    while count:
        for batch in loader:
            yield batch + torch.rand(1)
            loader.used += 1
            count -= 1
            if not count:
                return


@pytest.mark.long
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS.keys())
def test_goes_on_after_every_batch(make: Any) -> None:
    seed_all(1)
    whole = list(take_steps(ReplayedLoader(make()), 9))
    for cut in range(1, 9):
        seed_all(1)
        first = ReplayedLoader(make())
        steps = take_steps(first, 9)
        before = [next(steps) for _ in range(cut)]
        first.used += 1
        stored = capture_state({"loader": first})
        first.used -= 1
        seed_all(99)
        second = ReplayedLoader(make())
        restore_state(stored, {"loader": second})
        after = list(take_steps(second, 9 - cut))
        assert torch.equal(torch.cat([*before, *after]), torch.cat(whole)), cut


def test_batches_in_flight_are_given_again() -> None:
    seed_all(1)
    first = ReplayedLoader(LOADERS["shuffled"](), in_flight=2)
    batches = iter(first)
    taken = [next(batches) for _ in range(3)]
    first.used = 1
    stored = capture_state({"loader": first})
    expected = [*taken[1:], *batches]
    second = ReplayedLoader(LOADERS["shuffled"](), in_flight=2)
    restore_state(stored, {"loader": second})
    assert torch.equal(torch.cat(list(second)), torch.cat(expected))


def test_data_that_became_shorter_is_an_error() -> None:
    first = ReplayedLoader(DataLoader(range(9), 3))
    batches = iter(first)
    for _ in range(3):
        next(batches)
    second = ReplayedLoader(DataLoader(range(3), 3))
    second.load_state_dict(first.state_dict())
    with pytest.raises(UnbrokenError, match="ended after 1 batches, of which this epoch has used 3"):
        list(second)


def test_batches_that_come_in_any_order_are_refused() -> None:
    loader = ReplayedLoader(DataLoader(Augmented(), BATCH, num_workers=2, in_order=False))
    with pytest.raises(UnbrokenError, match=r"has in_order=False: .* Next: leave in_order out"):
        iter(loader)
