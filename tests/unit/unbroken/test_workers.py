"""Data workers: their number may change between two starts, and so may the step of the stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.exact.randomness import numpy_generator, sample_ids, seed_all
from unbroken.preemption import StopFlag, shield_worker
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores

STEPS, SAMPLES, BATCH = 12, 10, 4


class Samples(Dataset[torch.Tensor]):
    """Rows (3,), augmented by a stream of their own: the same in whatever process."""

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:  # type: ignore[override]
        step, index = key
        noise = numpy_generator(1, step, int(index), "augment").normal(0, 0.1, 3)
        return torch.linspace(-1, 1, 3 * SAMPLES).reshape(SAMPLES, 3)[index] + torch.from_numpy(noise).float()


def batches(first: int) -> Iterator[list[tuple[int, int]]]:
    for step in range(first, STEPS + 1):
        yield [(step, index) for index in sample_ids(1, step, BATCH, SAMPLES)]


def train(folder: Path, target: Path, workers: int, every: int = 3) -> None:
    torch.set_num_threads(1)
    stop = StopFlag.install()
    seed_all(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = {"model": model, "optimizer": optimizer}
    options: dict[str, Any] = {"every": every, "report": lambda _: None, "files": toy_training.Unsynced()}
    with Run(folder, identity=Identity({}), state=state, stop=stop, **options) as run:
        loader = DataLoader(
            Samples(),
            batch_sampler=list(batches(run.step + 1)),  # type: ignore[arg-type]  # it may hold any keys
            num_workers=workers,
            worker_init_fn=shield_worker,
            generator=torch.Generator(),  # or every start would draw the workers' seed from the global one
        )
        for _, rows in zip(run.steps(STEPS), loader, strict=False):
            loss = (model(rows) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)
        run.export(target)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("workers")
    assert in_child(lambda: train(root / "run", root / "export", 0)) == 0
    return toy_training.contents(root / "export")


CASES = [
    pytest.param(
        step, name, before, after, marks=() if (step, name) in ((4, "TERM"), (7, "KILL")) else pytest.mark.slow
    )
    for step in range(1, STEPS)
    for name in ("TERM", "KILL")
    for before, after in ((0, 2), (3, 0), (1, 3))
]


@pytest.mark.parametrize(("step", "name", "before", "after"), CASES)
def test_any_number_of_workers(
    step: int,
    name: str,
    before: int,
    after: int,
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, target = tmp_path / "run", tmp_path / "export"
    monkeypatch.setenv("UNBROKEN_INTERRUPT", f"{name}@{step}")
    assert in_child(lambda: train(run, target, before)) == (75 if name == "TERM" else -signal.SIGKILL)
    monkeypatch.delenv("UNBROKEN_INTERRUPT")
    assert in_child(lambda: train(run, target, after)) == 0
    assert toy_training.contents(target) == expected
    assert os.path.exists(run / "verdict.json")


LEFT_OPEN = """
import sys
import torch
from torch.utils.data import DataLoader
from unbroken.preemption import StopFlag, shield_worker

def main(context):
    loader = DataLoader(
        torch.arange(8.0), num_workers=2, worker_init_fn=shield_worker, persistent_workers=True,
        multiprocessing_context=context, generator=torch.Generator(),
    )
    batches = iter(loader)
    next(batches), next(batches)  # one of each worker: torch itself reports one that is told to end while it starts
    return batches

if __name__ == "__main__":
    if sys.argv[2] == "flag":
        StopFlag.install(deadline=300)
    kept = main(sys.argv[1])  # a global: nobody closes it before the interpreter ends
    print("done", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("flag", ["flag", "plain"])
def test_a_program_ends_although_its_shielded_workers_wait_for_more(context: str, flag: str, tmp_path: Path) -> None:
    """At its end multiprocessing sends TERM to workers that nobody closed, and waits for them."""
    program = tmp_path / "program.py"
    program.write_text(LEFT_OPEN)
    command = [sys.executable, str(program), context, flag]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "killed by signal" not in done.stderr, done.stderr
