"""Samplers and data sets of one's own in a loop over epochs: a resume draws the batches of the undisturbed run."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag, shield_worker
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

pytestmark = [
    pytest.mark.usefixtures("uninterrupted"),  # torch's lazy imports, once for all forks
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more workers than cores
]
SAMPLES, BATCH, EPOCHS, SIZE = 11, 3, 3, 4


class Shuffled(Sampler[int]):
    """Any order, by a generator of any kind."""

    def __init__(self, rng: Any) -> None:
        self.rng = rng

    def __iter__(self) -> Iterator[int]:
        keys = [float(self.rng.random()) for _ in range(SAMPLES)]
        return iter(sorted(range(SAMPLES), key=keys.__getitem__))

    def __len__(self) -> int:
        return SAMPLES


class Stored(Shuffled):
    """Gives and takes its position: where its generator stands, and how many it has passed in all."""

    def __init__(self, rng: np.random.RandomState) -> None:
        super().__init__(rng)
        self.passed, self.skip = 0, 0

    def __iter__(self) -> Iterator[int]:
        order, skip, self.skip = list(super().__iter__()), self.skip % SAMPLES, 0
        for index in order[skip:]:
            self.passed += 1
            yield index

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.get_state(legacy=False), "passed": self.passed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.set_state(state["rng"])
        self.passed = self.skip = state["passed"]


class Weighted(Stored):
    """Its order follows from what the loop tells it, and so does its position."""

    def __init__(self, rng: np.random.RandomState) -> None:
        super().__init__(rng)
        self.weights = np.ones(SAMPLES)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rng.choice(SAMPLES, SAMPLES, p=self.weights / self.weights.sum()).tolist())

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.weights[:] = state["weights"]


class Noisy(Dataset[torch.Tensor]):
    """Rows (1,), with the noise of a generator of its own."""

    def __init__(self, rng: np.random.RandomState | None = None) -> None:
        self.rng = rng

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index / SAMPLES + (self.rng.random_sample() if self.rng else 0.0)], dtype=torch.float32)


class StoredNoisy(Noisy):
    def state_dict(self) -> dict[str, Any]:
        assert self.rng
        return dict(self.rng.get_state(legacy=False))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.rng
        self.rng.set_state(state)


def by_rng(rng: Any) -> tuple[DataLoader[Any], Any]:
    return DataLoader(Noisy(), BATCH, sampler=Shuffled(rng)), rng


def by_sampler(sampler: Shuffled, workers: int = 0) -> tuple[DataLoader[Any], Any]:
    """Workers ask for batches ahead, so that the sampler is ahead of the loop."""
    loader = DataLoader(Noisy(), BATCH, sampler=sampler, num_workers=workers, worker_init_fn=shield_worker)
    return loader, sampler


def by_data(data: Noisy, stored: Any) -> tuple[DataLoader[Any], Any]:
    return DataLoader(data, BATCH, shuffle=True), stored


MAKE: dict[str, Callable[[], tuple[DataLoader[Any], Any]]] = {
    "RandomState": lambda: by_rng(np.random.RandomState(3)),
    "Random": lambda: by_rng(random.Random(3)),
    "Generator": lambda: by_rng(np.random.default_rng(3)),
    "sampler with a state": lambda: by_sampler(Stored(np.random.RandomState(3))),
    "sampler with a state, ahead": lambda: by_sampler(Stored(np.random.RandomState(3)), workers=2),
    "sampler that the loop tells": lambda: by_sampler(Weighted(np.random.RandomState(3))),
    "data with a state": lambda: by_data(data := StoredNoisy(np.random.RandomState(3)), data),
    "data with a generator": lambda: by_data(Noisy(rng := np.random.RandomState(3)), rng),
}


def train(work: Path, kind: str) -> None:
    torch.set_num_threads(1)
    seed_all(5)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader, own = MAKE[kind]()
    state = {"model": model, "optimizer": optimizer, "own": own}
    options: dict[str, Any] = {"every": 3, "report": lambda _: None, "files": toy_training.Unsynced()}
    with Run(work / "run", identity=Identity({}), state=state, stop=StopFlag.install(), **options) as run:
        for epoch in run.epochs(EPOCHS, loader):
            for step, rows in epoch.batches(loader):
                loss = (model(rows) - 1).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
                if isinstance(own, Weighted):
                    own.weights[step % SAMPLES] += loss.item()
        run.export(work / "export")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    made: dict[str, dict[str, bytes]] = {}

    def find(kind: str) -> dict[str, bytes]:
        if kind not in made:
            work = tmp_path_factory.mktemp("undisturbed")
            assert in_child(lambda: train(work, kind)) == 0
            made[kind] = toy_training.contents(work / "export")
        return made[kind]

    return find


@pytest.mark.long
@pytest.mark.parametrize("at", ["TERM@2", "KILL@5", "TERM@6", "KILL@10:save"])
@pytest.mark.parametrize("kind", MAKE)
def test_a_resume_draws_the_same_batches(
    kind: str, at: str, tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBROKEN_INTERRUPT", at)
    assert in_child(lambda: train(tmp_path, kind)) == (75 if at.startswith("TERM") else -signal.SIGKILL)
    monkeypatch.delenv("UNBROKEN_INTERRUPT")
    assert in_child(lambda: train(tmp_path, kind)) == 0
    assert toy_training.contents(tmp_path / "export") == undisturbed(kind)


def enter(folder: Path, loader: DataLoader[Any], state: dict[str, Any], size: int | None = None) -> list[int]:
    options: dict[str, Any] = {"report": lambda _: None, "files": toy_training.Unsynced(), "lock_timeout": 0.0}
    with Run(folder, identity=Identity({}), state=state, stop=StopFlag(), **options) as run:
        return [step for epoch in run.epochs(2, size or loader) for step, _ in epoch.batches(loader)]


@pytest.mark.parametrize("kind", ["RandomState", "Random", "Generator"])
def test_a_sampler_whose_generator_was_forgotten_is_refused_before_the_first_step(kind: str, tmp_path: Path) -> None:
    loader, rng = MAKE[kind]()
    with pytest.raises(UnbrokenError, match=r"not in `state`, loader\.sampler\.rng, so a resume .* Next: `Run\(state="):
        enter(tmp_path / "run", loader, {"c": {}})
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
    assert len(enter(tmp_path / "known", loader, {"order": rng})) == 2 * SIZE


def test_a_sampler_that_stores_its_generator_is_not_refused(tmp_path: Path) -> None:
    loader, sampler = by_sampler(Stored(np.random.RandomState(1)))
    assert len(enter(tmp_path / "run", loader, {"sampler": sampler})) == 2 * SIZE


def test_an_epoch_that_another_loader_began_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin() -> None:
        sampler = Stored(np.random.RandomState(1))
        stop, loader = StopFlag.install(), DataLoader(Noisy(), BATCH)
        with Run(tmp_path, identity=Identity({}), state={"sampler": sampler}, stop=stop, report=lambda _: None) as run:
            for epoch in run.epochs(2, SIZE):
                for step, _ in epoch.batches(loader):
                    if step == 2:
                        os.kill(os.getpid(), signal.SIGTERM)

    assert in_child(begin) == 75
    loader, sampler = by_sampler(Stored(np.random.RandomState(1)))
    with pytest.raises(UnbrokenError, match=r"does not say where sampler stood when that began.* Next: end the epoch"):
        enter(tmp_path, loader, {"sampler": sampler}, SIZE)
