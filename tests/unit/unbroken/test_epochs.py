"""Loops over epochs with a DataLoader, a best checkpoint and early stopping: the bytes of the undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag, shield_worker
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

pytestmark = [
    pytest.mark.usefixtures("uninterrupted"),  # torch's lazy imports, once for all forks
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]
EPOCHS, SAMPLES, BATCH = 4, 10, 4
SIZE = 3  # batches of an epoch
Loader = DataLoader[torch.Tensor]


class Augmented(Dataset[torch.Tensor]):
    """Rows (3,), augmented by all generators of the process that loads them."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = np.random.rand() + random.random() + torch.rand(1).item()
        return torch.linspace(-1, 1, 3 * SAMPLES).reshape(SAMPLES, 3)[index] + noise / 10


def make_loader(kind: str, order: torch.Generator) -> Loader:
    data, workers = Augmented(), {"num_workers": int(kind[-1]), "worker_init_fn": shield_worker}
    if kind.startswith("persistent"):
        return DataLoader(data, BATCH, shuffle=True, persistent_workers=True, **workers)  # type: ignore[arg-type]
    if kind.startswith("own"):
        return DataLoader(data, BATCH, shuffle=True, generator=order, **workers)  # type: ignore[arg-type]
    if kind.startswith("replacing"):
        sampler = RandomSampler(data, replacement=True, num_samples=SAMPLES, generator=order)
        return DataLoader(data, BATCH, sampler=sampler, **workers)  # type: ignore[arg-type]
    if kind.startswith("batches"):
        batches = BatchSampler(RandomSampler(data), BATCH, drop_last=False)
        return DataLoader(data, batch_sampler=batches, **workers)  # type: ignore[arg-type]
    return DataLoader(data, BATCH, shuffle=True, **workers)  # type: ignore[arg-type]


def train(
    work: Path,
    kind: str = "plain0",
    epochs: int = EPOCHS,
    stop_in: int | None = None,
    skip: int = 99,
    **options: Any,
) -> list[int]:
    """`stop_in`: the epoch at whose end the loop is left; `skip`: the step that is the last of its epoch."""
    torch.set_num_threads(1)
    seed_all(5)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    order, shown, visited = torch.Generator().manual_seed(7), {"best": 9e9, "begun": 0}, list[int]()
    loader = make_loader(kind, order)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "order": order, "shown": shown}
    settings = {"every": 4, "report": lambda _: None, "files": toy_training.Unsynced(), "lock_timeout": 0.0, **options}
    with Run(work / "run", identity=Identity({}), state=state, stop=StopFlag.install(), **settings) as run:
        for epoch in run.epochs(epochs, SIZE):
            shown["begun"] += 1 + round(random.random())  # counts, and draws
            for step, rows in epoch.batches(loader):
                visited.append(step)
                loss = (model(rows) - 1).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
                if step == skip:
                    break
            schedule.step()
            accuracy = loss.item() + random.random() / 10
            run.log(accuracy=accuracy, epoch=epoch.number)
            if accuracy < shown["best"]:
                shown["best"] = accuracy
                run.pin("best")
            run.pin("last")
            if epoch.number == stop_in:
                break
        run.export(work / "final")
        run.export(work / "best", pin="best")
    return visited


def results(work: Path) -> dict[str, dict[str, bytes]]:
    found = {name: toy_training.contents(work / name) for name in ("final", "best")}
    pins = sorted((work / "run/pins").glob("*/*"))
    return found | {f"{path.parent.name}/{path.name}": toy_training.contents(path) for path in pins}


def interrupt(work: Path, at: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    monkeypatch.setenv("UNBROKEN_INTERRUPT", at)
    code = in_child(lambda: train(work, **options))
    assert code == (-signal.SIGKILL if at.startswith("KILL") else 75), code
    monkeypatch.delenv("UNBROKEN_INTERRUPT")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, dict[str, bytes]]]:
    """The results of an undisturbed run with these options, made once each."""
    made: dict[str, dict[str, dict[str, bytes]]] = {}

    def find(**options: Any) -> dict[str, dict[str, bytes]]:
        key = repr(sorted(options.items()))
        if key not in made:
            work = tmp_path_factory.mktemp("undisturbed")
            assert in_child(lambda: train(work, **options)) == 0
            made[key] = results(work)
        return made[key]

    return find


@pytest.mark.parametrize("at", ["TERM@{}", "TERM@{}:end", "KILL@{}", "KILL@{}:end", "KILL@{}:save"])
@pytest.mark.parametrize("step", range(1, EPOCHS * SIZE))
def test_interrupted_in_any_step(
    step: int, at: str, tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path, at.format(step), monkeypatch)
    assert in_child(lambda: train(tmp_path)) == 0
    assert results(tmp_path) == undisturbed()


@pytest.mark.long
@pytest.mark.parametrize("options", [{"stop_in": 2}, {"skip": 5}, {"skip": 7, "stop_in": 2}])
@pytest.mark.parametrize("name", ["TERM", "KILL"])
@pytest.mark.parametrize("step", range(1, 7))
def test_left_early_and_interrupted_in_any_step(
    step: int, name: str, options: Any, tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path, f"{name}@{step}", monkeypatch, **options)
    assert in_child(lambda: train(tmp_path, **options)) == 0
    assert results(tmp_path) == undisturbed(**options)
    visited = train(tmp_path, **options)
    assert visited == []
    assert results(tmp_path) == undisturbed(**options)


KINDS = ["plain1", "plain3", "persistent2", "own0", "own2", "replacing0", "replacing2", "batches0", "batches2"]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", ["TERM@4", "KILL@8", "TERM@9:end"])
def test_any_loader(kind: str, at: str, tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(tmp_path, at, monkeypatch, kind=kind)
    assert in_child(lambda: train(tmp_path, kind)) == 0
    assert results(tmp_path) == undisturbed(kind=kind)


def test_more_epochs_later_are_the_epochs_at_once(tmp_path: Path, undisturbed: Any) -> None:
    assert train(tmp_path, epochs=2) == list(range(1, 7))
    assert train(tmp_path, epochs=2) == []
    assert train(tmp_path, epochs=EPOCHS) == list(range(7, 13))
    assert results(tmp_path) == undisturbed()


def open_run(folder: Path, state: dict[str, Any] | None = None, **options: Any) -> Run:
    settings = {"report": lambda _: None, "files": toy_training.Unsynced(), "lock_timeout": 0.0, **options}
    return Run(folder, identity=Identity({}), state=state or {"c": {"at": 0}}, **{"stop": StopFlag(), **settings})


def test_what_epochs_cannot_repeat_is_refused(tmp_path: Path) -> None:
    def enter(work: str, loader: Any, size: int = SIZE) -> None:
        with open_run(tmp_path / work) as run:
            for epoch in run.epochs(2, size):
                list(epoch.batches(loader))

    with pytest.raises(UnbrokenError, match="draws from a generator that is not in `state`"):
        enter("own", make_loader("own0", torch.Generator()))
    with pytest.raises(UnbrokenError, match="draws from a generator that is not in `state`"):
        enter("replacing", make_loader("replacing0", torch.Generator()))
    with pytest.raises(UnbrokenError, match=r"ended after 3 batches of epoch 0, expected 5\. Next"):
        enter("short", make_loader("plain0", torch.Generator()), 5)
    with open_run(tmp_path / "steps") as run:
        list(run.steps(4))
    with pytest.raises(UnbrokenError, match="Step 4 lies inside an epoch of 3 steps"):
        enter("steps", make_loader("plain0", torch.Generator()))
    with open_run(tmp_path / "steps") as run:
        list(run.steps(6))
    with open_run(tmp_path / "steps") as run:
        assert [(e.number, list(e.steps())) for e in run.epochs(3, SIZE)] == [(2, [7, 8, 9])]


@pytest.mark.parametrize("is_known", [True, False])
def test_batches_that_come_in_any_order_are_refused(is_known: bool, tmp_path: Path) -> None:
    def train() -> None:
        loader = DataLoader(range(6), 2, num_workers=2, in_order=False)
        with open_run(tmp_path) as run:
            for epoch in run.epochs(2, loader if is_known else len(loader)):
                list(epoch.batches(loader))

    with pytest.raises(UnbrokenError, match=r"has in_order=False: .* Next: leave in_order out"):
        train()
    assert Run.peek(tmp_path).step == 0


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(6))


@pytest.mark.parametrize("batches", [DataLoader(Stream()), iter([1, 2])], ids=["loader of a stream", "iterator"])
def test_batches_without_a_length_are_refused_in_a_sentence(batches: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(UnbrokenError, match=r"without a length .* Next: call run\.epochs\(number, batches\)") as refused,
        open_run(tmp_path / "run") as run,
    ):
        next(run.epochs(2, batches))
    assert refused.value.__suppress_context__
    with open_run(tmp_path / "other") as run:
        assert [len(list(epoch.batches(DataLoader(Stream())))) for epoch in run.epochs(2, 6)] == [6, 6]


def test_a_pin_is_kept_moved_and_peeked_at(tmp_path: Path) -> None:
    assert Run.peek(tmp_path) == Run.peek(tmp_path / "nothing")
    assert Run.peek(tmp_path).step == 0
    cursor = {"at": 0}
    with open_run(tmp_path, {"c": cursor}, every=1, keep=1, background=False) as run:
        with pytest.raises(UnbrokenError, match="before the first step"):
            run.pin("best")
        for step in run.steps(9):
            cursor["at"] = step
            assert run.pinned("best") == (None if step <= 2 else tmp_path / "pins/best/step-00000002")
            for wrong in ("", "a/b", "..", ".x", "a b", "x" * 65):
                with pytest.raises(UnbrokenError, match="A pin was named"):
                    run.pin(wrong)
            if step == 2:
                run.pin("best")
                run.pin("other_1")
        seen = Run.peek(tmp_path)
        assert (seen.step, seen.final, seen.pins, seen.damaged) == (9, True, {"best": 2, "other_1": 2}, ())
        run.pin("other_1")
        run.export(tmp_path / "out", pin="best")
        with pytest.raises(UnbrokenError, match="Nothing is pinned as 'first'"):
            run.export(tmp_path / "out", pin="first")
    assert json.loads((tmp_path / "out/manifest.json").read_text())["step"] == 2
    assert Run.peek(tmp_path).pins == {"best": 2, "other_1": 9}


def test_a_run_that_goes_back_has_the_pin_of_then(tmp_path: Path) -> None:
    with open_run(tmp_path, every=3, background=False) as run:
        for step in run.steps(12):
            if step in (2, 7, 11):
                run.pin("best")
    assert Run.peek(tmp_path).pins == {"best": 11}
    assert [path.name for path in (tmp_path / "pins/best").iterdir()] == ["step-00000011"]
    damaged = tmp_path / "checkpoints/step-00000012/tensors.safetensors"
    damaged.write_bytes(b"x" + damaged.read_bytes())
    (tmp_path / "checkpoints/step-00000011/manifest.json").unlink()
    seen = Run.peek(tmp_path)
    assert (seen.step, seen.final, seen.pins, len(seen.damaged)) == (9, False, {}, 2)
    assert damaged.exists()
    with open_run(tmp_path) as run:
        assert (run.step, run.pinned("best")) == (9, None)
        for step in run.steps(12):
            if step in (2, 7, 11):
                run.pin("best")
        assert run.pinned("best") == tmp_path / "pins/best/step-00000011"


def test_a_killed_run_has_the_pin_of_its_durable_step(tmp_path: Path) -> None:
    class Full(toy_training.Unsynced):
        def create(self, path: Path) -> int:
            if "checkpoints" in path.parts and "step-00000002" not in str(path):
                raise OSError(28, "No space left on device", str(path))
            return super().create(path)

    def die() -> None:
        with open_run(tmp_path, files=Full(), background=False) as run:
            for step in run.steps(9):
                if step == 7:
                    os._exit(9)
                if step in (2, 4, 6):
                    run.pin("best")

    assert in_child(die) == 9
    assert len(list((tmp_path / "pins/best").iterdir())) == 3
    with open_run(tmp_path) as run:
        assert (run.step, run.pinned("best")) == (2, tmp_path / "pins/best/step-00000002")
        list(run.steps(5))
    assert Run.peek(tmp_path).pins == {"best": 2}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.long
def test_a_loop_that_changes_its_directory(number: signal.Signals, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "elsewhere").mkdir()

    def go() -> None:
        os.chdir(tmp_path)
        os.environ["UNBROKEN_TRACE"] = "1"
        with open_run(Path("run"), every=2, stop=StopFlag.install()) as run:
            for _ in run.steps(6):
                os.chdir(tmp_path / "elsewhere")

    monkeypatch.setenv("UNBROKEN_INTERRUPT", f"{number.name[3:]}@3")
    assert in_child(go) in (75, -signal.SIGKILL)
    monkeypatch.delenv("UNBROKEN_INTERRUPT")
    assert in_child(go) == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "elsewhere"] == ["run"]
    assert (tmp_path / "run/trace.jsonl").exists()
    assert Run.peek(tmp_path / "run").step == 6


def test_a_verdict_named_by_a_relative_path_is_where_the_program_began(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    program = (
        "from unbroken.preemption import StopFlag\nstop = StopFlag.install()\nimport os\nfrom pathlib import Path\n"
        "os.environ['UNBROKEN_VERDICT'] = 'verdict.json'\nos.chdir('elsewhere')\n"
        "from unbroken import Identity, Run\n"
        "with Run(Path('../run'), identity=Identity({}), state={'c': {}}, stop=stop) as run:\n"
        "    for step in run.steps(2): os.chdir('/')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "run", "verdict.json"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
