"""Objects that draw random numbers when they are read, loaded or first used, and those that do their work later."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import toy_training
from unbroken.checkpoint import holders
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.errors import CheckpointError
from unbroken.exact.randomness import get_global_state, seed_all
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS = 9


class LazyLoader:
    """What torchdata's StatefulDataLoader does: reading makes the iterator, and that draws a seed for the workers."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self._generator = generator
        self._order: list[int] | None = None
        self._stored: dict[str, Any] | None = None
        self.base_seed = self.at = 0

    def _begin(self) -> None:
        self.base_seed = int(torch.randint(1 << 30, (1,), generator=self._generator))
        self._order, self.at = [random.randrange(100) for _ in range(4)] + [int(np.random.randint(100))], 0
        if self._stored:
            self._order, self.at = list(self._stored["order"]), self._stored["at"]
            self.base_seed, self._stored = self._stored["base_seed"], None

    def __iter__(self) -> Iterator[int]:
        if self._order is None or self.at == len(self._order):
            self._begin()
        while self._order and self.at < len(self._order):
            self.at += 1
            yield self._order[self.at - 1]

    def state_dict(self) -> dict[str, Any]:
        if self._order is None:
            self._begin()
        return {"order": list(self._order or []), "at": self.at, "base_seed": self.base_seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        random.random()
        self._order, self._stored = None, state


class DrawsWhenRead:
    """Draws in every reading, as a buffer does that samples what it shows."""

    def state_dict(self) -> dict[str, int]:
        torch.rand(1), random.random(), np.random.rand()
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        torch.rand(1)


def build(kind: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(4)
    if kind == "own generator":
        return {"a-generator": generator, "loader": LazyLoader(generator), "z": np.random.default_rng(1)}
    return {"loader": LazyLoader(), "reader": DrawsWhenRead()} if kind == "every reading" else {"loader": LazyLoader()}


def train(kind: str, folder: Path, stop_at: int | None = None, every: int = 2) -> dict[str, bytes]:
    seed_all(1)
    state, stop = build(kind), StopFlag()

    def endless() -> Iterator[int]:
        while True:
            yield from state["loader"]

    numbers = endless()
    settings = {"every": every, "report": lambda _: None, "files": toy_training.Unsynced()}
    with Run(folder / "run", identity=Identity({}), state=state, stop=stop, **settings) as run:
        for step in run.steps(STEPS):
            noise = torch.rand(1).item() + random.random() + np.random.rand()
            run.log(loss=next(numbers) + noise + state["loader"].base_seed)
            if step == stop_at:
                stop.set("SIGTERM")
        run.export(folder / "export")
    return toy_training.contents(folder / "export")


@pytest.mark.parametrize("kind", ["plain", "own generator", "every reading"])
def test_a_loader_that_draws_when_it_is_read_resumes_exactly(kind: str, tmp_path: Path) -> None:
    expected = train(kind, tmp_path / "undisturbed")
    for step in (1, 4, 5, 8):
        with pytest.raises(Preempted):
            train(kind, tmp_path / "stopped", step)
    assert train(kind, tmp_path / "stopped") == expected


def test_how_often_the_state_is_read_makes_no_difference(tmp_path: Path) -> None:
    often, seldom = (train("every reading", tmp_path / str(every), every=every) for every in (1, 7))
    assert often == seldom


def test_reading_leaves_no_trace_in_any_generator() -> None:
    generators = {"torch": torch.Generator().manual_seed(3), "numpy": np.random.default_rng(5)}

    class Drawing(DrawsWhenRead):
        def state_dict(self) -> dict[str, int]:
            torch.rand(1, generator=generators["torch"]), generators["numpy"].random()
            return super().state_dict()

    before = capture_state(generators).digest()
    first = capture_state({"object": Drawing(), **generators})
    assert capture_state(generators).digest() == before
    assert first.digest() == capture_state({"object": Drawing(), **generators}).digest()


def test_a_refused_state_leaves_no_trace_in_the_generators_either() -> None:
    class Broken(DrawsWhenRead):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "x": object()}

    before = repr(get_global_state())
    with pytest.raises(CheckpointError, match="state at object/x"):
        capture_state({"object": Broken()})
    assert repr(get_global_state()) == before


def hooked_module() -> Any:
    module = torch.nn.Sequential(torch.nn.Linear(1, 1))
    module[0].register_state_dict_post_hook(lambda *_: random.seed(3))
    return module


def module_with_extra_state() -> Any:
    class Extra(torch.nn.Linear):
        def get_extra_state(self) -> int:
            return random.randrange(2) * 0

    return torch.nn.Sequential(Extra(1, 1))


def patched_module() -> Any:
    module = torch.nn.Linear(1, 1)
    module.state_dict = lambda **_: {"seen": random.random() * 0}  # type: ignore[method-assign]
    return module


def hooked_optimizer() -> Any:
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    optimizer.register_state_dict_post_hook(lambda *_: random.seed(3))  # type: ignore[arg-type]
    return optimizer


def scheduler_of_yours() -> Any:
    class Drawing(torch.optim.lr_scheduler.ConstantLR):
        def state_dict(self) -> dict[str, Any]:
            return {"last": random.random() * 0}

    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    return torch.optim.lr_scheduler.ChainedScheduler([Drawing(optimizer)])


@pytest.mark.parametrize(
    "build_object",
    [hooked_module, module_with_extra_state, patched_module, hooked_optimizer, scheduler_of_yours],
)
def test_code_of_yours_in_objects_of_torch_leaves_no_trace_either(build_object: Callable[[], Any]) -> None:
    drawing = build_object()
    random.seed(1)
    before = repr(get_global_state())
    capture_state({"object": drawing})
    assert repr(get_global_state()) == before


def test_the_generators_are_read_once_where_nothing_can_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "cursor": {"at": 1}}
    readings: list[int] = []
    monkeypatch.setattr(holders, "get_global_state", lambda: readings.append(1) or get_global_state())
    capture_state({**state, "own": torch.Generator()})
    assert len(readings) == 1
    capture_state({**state, "reader": DrawsWhenRead()})
    assert len(readings) == 3


class LoadsLater:
    """What torchdata's StatefulDistributedSampler does: until it is iterated, it does not tell what it was given."""

    def __init__(self, at: int = 0) -> None:
        self.at = at

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._pending = state


def test_a_state_that_is_taken_in_later_is_refused_with_the_right_advice() -> None:
    with pytest.raises(CheckpointError, match=r"sampler/at \(3 became 0\).*at once and not when the object is first"):
        restore_state(capture_state({"sampler": LoadsLater(3)}), {"sampler": LoadsLater()})


TORCHDATA = """
import os, sys
from unbroken.preemption import StopFlag, shield_worker
stop = StopFlag.install()
from pathlib import Path
import torch
from torchdata.stateful_dataloader import StatefulDataLoader
from unbroken import Identity, Run
from unbroken.exact.randomness import seed_all

seed_all(0)
data = torch.utils.data.TensorDataset(torch.arange(40.0).reshape(20, 2))
generator = torch.Generator().manual_seed(3) if sys.argv[2] == "own" else None
settings = {"num_workers": int(sys.argv[1]), "worker_init_fn": shield_worker, "generator": generator}
loader = StatefulDataLoader(data, batch_size=3, shuffle=True, **settings)
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.3), torch.nn.Linear(3, 1))
optimizer = torch.optim.Adam(model.parameters(), 0.01)
state = {"model": model, "optimizer": optimizer, "loader": loader}
if generator:
    state["generator"] = generator

def endless():
    while True:
        yield from loader

with Run(Path(os.environ["UNBROKEN_FOLDER"]), identity=Identity({}), state=state, stop=stop, every=4) as run:
    batches = endless()
    for step in run.steps(17):
        (rows,) = next(batches)
        loss = model(rows).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(loss=loss, rows=rows.sum())
"""


def start_torchdata(folder: Path, workers: int, generator: str, **variables: str) -> int:
    command = [sys.executable, "-c", TORCHDATA, str(workers), generator]
    environment = {**os.environ, "UNBROKEN_FOLDER": str(folder), **variables}
    return subprocess.run(command, env=environment, timeout=240).returncode


@pytest.mark.parametrize(("workers", "generator"), [(0, "none"), (2, "none"), (0, "own")])
def test_torchdata_resumes_exactly_within_an_epoch_and_between_two(
    workers: int, generator: str, tmp_path: Path
) -> None:
    pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed; LazyLoader stands for it")
    assert start_torchdata(tmp_path / "alone", workers, generator) == 0
    for interruption in ("TERM@5", "TERM@7", "KILL@15"):  # 7 batches are an epoch
        assert start_torchdata(tmp_path / "run", workers, generator, UNBROKEN_INTERRUPT=interruption) in (75, -9)
    assert start_torchdata(tmp_path / "run", workers, generator) == 0
    final = "checkpoints/step-00000017"
    assert toy_training.contents(tmp_path / "run" / final) == toy_training.contents(tmp_path / "alone" / final)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_prove_certifies_torchdata(workers: int, tmp_path: Path) -> None:
    pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed; LazyLoader stands for it")
    (tmp_path / "train.py").write_text(TORCHDATA)
    command = [sys.executable, "-m", "unbroken", "prove", "--at", "TERM@5,KILL@9:save,TERM@14", "--"]
    done = subprocess.run([*command, sys.executable, str(tmp_path / "train.py"), str(workers), "none"], timeout=600)
    assert done.returncode == 0
