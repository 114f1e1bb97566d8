"""Objects of which each process has a piece are refused on all of them, before one talks to nobody."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import distribute_tensor, init_device_mesh

from tests.support import elastic_training
from tests.support.elastic_training import places
from unbroken.preemption import StopFlag
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity


def shard_module() -> object:
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 2))
    fully_shard(model[1])
    return model


def shard_flat() -> object:
    return torch.nn.Sequential(FullyShardedDataParallel(torch.nn.Linear(6, 4), device_id=torch.device("cpu")))


def train_shards() -> object:
    model = torch.nn.Linear(6, 4)
    fully_shard(model)
    return torch.optim.AdamW(model.parameters())


def share_out_state() -> object:
    from torch.distributed.optim import ZeroRedundancyOptimizer  # warns

    return ZeroRedundancyOptimizer(torch.nn.Linear(6, 4).parameters(), torch.optim.AdamW)


def distribute_buffer() -> object:
    model = torch.nn.Linear(6, 4)
    model.register_buffer("table", distribute_tensor(torch.zeros(4), init_device_mesh("cpu", (2,))))
    return model


KINDS: list[tuple[Callable[[], object], str]] = [
    (shard_module, "FSDPModule"),
    (shard_flat, "FullyShardedDataParallel"),
    (train_shards, "DTensor"),
    (share_out_state, "ZeroRedundancyOptimizer"),
    (distribute_buffer, "DTensor"),
]


@pytest.mark.parametrize(("build", "kind"), KINDS)
def test_it_is_refused_by_name_on_every_rank_and_nothing_is_written(
    build: Callable[[], object], kind: str, tmp_path: Path
) -> None:
    def action(stop: StopFlag) -> None:
        warnings.simplefilter("ignore")
        group = join_group(stop)
        state = {"counter": {"n": 0}, "part": build()}
        with Run(tmp_path / "run", identity=Identity({}), state=state, stop=stop, group=group):  # type: ignore[arg-type]
            raise AssertionError

    assert elastic_training.forked(places(2), action, tmp_path / "log") == [1, 1]
    said = (tmp_path / "log").read_text()
    assert said.count(f"`part` in the state is sharded over the processes ({kind})") == 2, said
    assert "`Run(per_rank=…)`" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_the_pieces_of_each_rank_come_back_to_it(tmp_path: Path) -> None:
    def action(stop: StopFlag) -> None:
        group = join_group(stop)
        torch.manual_seed(group.rank)
        model = torch.nn.Linear(6, 5)
        fully_shard(model)
        pieces = {name: _piece(parameter) for name, parameter in model.named_parameters()}
        with Run(
            tmp_path / "run",
            identity=Identity({}),
            state={"counter": {"n": 0}},
            per_rank={"model": pieces},
            stop=stop,
            group=group,
        ) as run:
            before = {name: piece.clone() for name, piece in pieces.items()}
            for _ in run.steps(run.step + 1):
                with torch.no_grad():
                    for piece in pieces.values():
                        piece += 1 + group.rank
        after = {name: _piece(parameter) for name, parameter in model.named_parameters()}
        told = [{name: piece.tolist() for name, piece in pieces.items()} for pieces in (before, after)]
        (tmp_path / f"{group.rank}-{run.step}").write_text(json.dumps(told))

    for _ in range(2):
        assert elastic_training.forked(places(2), action, tmp_path / "log") == [0, 0], (tmp_path / "log").read_text()
    for rank in range(2):
        (_, stored), (restored, trained) = (json.loads((tmp_path / f"{rank}-{step}").read_text()) for step in (1, 2))
        assert stored == restored != trained


def _piece(parameter: torch.Tensor) -> torch.Tensor:
    piece: torch.Tensor = parameter.detach().to_local()  # type: ignore[attr-defined]  # a DTensor
    return piece
