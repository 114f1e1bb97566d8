"""Epochs and pins over several processes: stopped or killed inside an epoch, they end in the undisturbed bytes."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tests.support import toy_training
from tests.support.elastic_training import QUIET, forked, places
from unbroken.exact.fold import fold
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag, shield_worker
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

pytestmark = pytest.mark.usefixtures("uninterrupted")  # torch's lazy imports, once for all forks
EPOCHS, SAMPLES, SHARDS = 3, 12, 2
SIZE = 3  # steps of an epoch


class Points(Dataset[torch.Tensor]):
    """Rows (3,), with noise from the process that loads them."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((3,), index / SAMPLES) + torch.rand(3) / 10 + random.random() / 10


def make_loader(kind: str, rank: int) -> DataLoader[torch.Tensor]:
    """`own`: each rank has its half of the samples; `whole`: each has whole batches, and folds its shards of them."""
    if kind.startswith("own"):
        sampler = DistributedSampler(Points(), SHARDS, rank, seed=4)
        return DataLoader(Points(), 2, sampler=sampler, num_workers=int(kind[-1]), worker_init_fn=shield_worker)
    return DataLoader(Points(), 4, shuffle=True, num_workers=int(kind[-1]), worker_init_fn=shield_worker)


def train(work: Path, kind: str, stop: StopFlag, size_of: Any = len, ends_in: int = 99) -> None:
    """Two shards on as many processes as there are; the best epoch is pinned."""
    torch.set_num_threads(1)
    group = join_group(stop)
    seed_all(5)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    best, loader = {"error": 9e9}, make_loader(kind, group.rank)
    state = {"model": model, "optimizer": optimizer, "best": best}
    options = {"every": 2, "report": lambda _: None, "files": toy_training.Unsynced(), "lock_timeout": 0.0}
    with Run(work / "run", identity=Identity({}), state=state, stop=stop, group=group, **options) as run:  # type: ignore[arg-type]
        for epoch in run.epochs(EPOCHS, size_of(loader)):
            if isinstance(loader.sampler, DistributedSampler):
                loader.sampler.set_epoch(epoch.number)
            for step, rows in epoch.batches(loader):

                def leaf(shard: int, step: int = step, rows: torch.Tensor = rows) -> list[torch.Tensor]:
                    seed_all(1, step, shard)
                    mine = rows if kind.startswith("own") else rows[2 * shard : 2 * shard + 2]
                    loss = (model(mine) - 1).square().mean()
                    return [*torch.autograd.grad(loss, list(model.parameters())), loss.detach()]

                *gradients, loss = fold(leaf, SHARDS, group)
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()
                run.log(loss=loss)
            seed_all(2, step)  # the leaf has left each rank's generators elsewhere
            error = loss.item() + random.random() / 10
            if error < best["error"]:
                best["error"] = error
                run.pin("best")
            run.pin("last")
            if epoch.number == ends_in:
                break
        run.export(work / "best", pin="best")
    group.close()


def start(work: Path, kind: str, size: int = 2, interrupt: str = "", **options: Any) -> list[int]:
    work.mkdir(exist_ok=True)
    variables = {"UNBROKEN_INTERRUPT": interrupt} if interrupt else {}
    return forked(places(size, **QUIET, **variables), lambda stop: train(work, kind, stop, **options), work / "log")


def results(work: Path) -> dict[str, dict[str, bytes]]:
    last = max((work / "run/checkpoints").glob("step-*"))
    pins = sorted((work / "run/pins").glob("*/*"))
    return {"final": toy_training.contents(last), "best": toy_training.contents(work / "best")} | {
        f"{path.parent.name}/{path.name}": toy_training.contents(path) for path in pins
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Any] = {}

    def find(kind: str, **options: Any) -> Any:
        key = f"{kind}{options}"
        if key not in made:
            work = tmp_path_factory.mktemp("undisturbed")
            assert start(work, kind, **options) == [0, 0], (work / "log").read_text()
            made[key] = results(work)
        return made[key]

    return find


@pytest.mark.parametrize("kind", ["own0", "own1", "whole0", "whole1"])
@pytest.mark.long
def test_interrupted_inside_each_epoch(kind: str, tmp_path: Path, undisturbed: Any) -> None:
    for interrupt in ("TERM@2", "KILL@5", "TERM@6", "KILL@8:save"):
        codes = start(tmp_path, kind, interrupt=interrupt)
        assert codes == ([75, 75] if "TERM" in interrupt else [-signal.SIGKILL, 1]), (tmp_path / "log").read_text()
    assert start(tmp_path, kind) == [0, 0]
    assert results(tmp_path) == undisturbed(kind)


@pytest.mark.long
def test_left_early_it_goes_back_to_the_same_end(tmp_path: Path, undisturbed: Any) -> None:
    assert start(tmp_path, "whole0", interrupt="TERM@5", ends_in=1) == [75, 75]
    for _ in range(2):
        assert start(tmp_path, "whole0", ends_in=1) == [0, 0]
        assert results(tmp_path) == undisturbed("whole0", ends_in=1)


@pytest.mark.long
def test_whole_batches_resume_on_another_number_of_processes(tmp_path: Path, undisturbed: Any) -> None:
    assert start(tmp_path, "whole0", interrupt="TERM@2") == [75, 75]
    assert start(tmp_path, "whole0", size=1, interrupt="KILL@4") == [-signal.SIGKILL]
    assert start(tmp_path, "whole0", interrupt="TERM@8") == [75, 75]
    assert start(tmp_path, "whole0", size=1) == [0]
    assert results(tmp_path) == undisturbed("whole0")


def test_ranks_whose_epochs_differ_in_length_are_refused(tmp_path: Path) -> None:
    assert start(tmp_path, "own0", size_of=lambda loader: 3 - loader.sampler.rank) == [1, 1]
    said = (tmp_path / "log").read_text()
    assert "Rank 0 asks for 3 epochs of 3 batches, but rank 1 asks for 3 epochs of 2 batches: all ranks have to" in said


@pytest.mark.parametrize(
    ("totals", "found"), [((10, 12), "asks for 12 steps"), ((10, None), "asks for steps without a number")]
)
def test_ranks_that_ask_for_other_numbers_of_steps_are_refused(
    totals: tuple[int | None, ...], found: str, tmp_path: Path
) -> None:
    def loop(stop: StopFlag) -> None:
        group, options = join_group(stop), {"report": lambda _: None, "lock_timeout": 0.0}
        with Run(tmp_path / "run", identity=Identity({}), state={"at": {}}, stop=stop, group=group, **options) as run:  # type: ignore[arg-type]
            for _ in run.steps(totals[group.rank]):
                pass

    assert forked(places(2, **QUIET), loop, tmp_path / "log") == [1, 1]
    assert f"Rank 0 asks for 10 steps, but rank 1 {found}: all ranks have to" in (tmp_path / "log").read_text()
