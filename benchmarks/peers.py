"""How others save the same state: a function that saves and returns the seconds that the loop is blocked.

The function waits first for its save before, which is not counted. `None`: not installed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
Blocked = Callable[[int], float]


def torch_save(state: State, folder: Path) -> Blocked:
    """`torch.save`: in the page cache, not on the disk, when it returns."""

    def save(index: int) -> float:
        begun = time.perf_counter()
        torch.save(state, folder / f"{index}.pt")
        return time.perf_counter() - begun

    return save


def torch_save_durable(state: State, folder: Path) -> Blocked:
    """`torch.save` to a temporary name, fsync, rename, fsync of the folder: as durable as ours."""

    def save(index: int) -> float:
        begun = time.perf_counter()
        temporary = folder / f".{index}.pt"
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / f"{index}.pt")
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return time.perf_counter() - begun

    return save


def dcp_async(state: State, folder: Path) -> Blocked:
    """`torch.distributed.checkpoint.async_save`."""
    import torch.distributed as dist
    from torch.distributed.checkpoint import FileSystemWriter, async_save

    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    running: list[Any] = []

    def save(index: int) -> float:
        for one in running:
            one.result()
        begun = time.perf_counter()
        future = async_save(state, storage_writer=FileSystemWriter(folder / str(index)))
        blocked = time.perf_counter() - begun
        running[:] = [future]
        return blocked

    return save


def lightning_async(state: State, folder: Path) -> Blocked | None:
    """Lightning's `AsyncCheckpointIO`."""
    try:
        from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
    except ImportError:
        return None
    plugin = AsyncCheckpointIO(TorchCheckpointIO())
    plugin.save_checkpoint({}, folder / "first.ckpt")  # makes its thread

    def save(index: int) -> float:
        plugin._executor.submit(int).result()  # its one thread has done everything before
        begun = time.perf_counter()
        plugin.save_checkpoint({"state_dict": state}, folder / f"{index}.ckpt")
        return time.perf_counter() - begun

    return save


def hf_trainer(state: State, folder: Path) -> Blocked | None:
    """The save of the Hugging Face `Trainer`: weights and optimizer state of the same size together."""
    try:
        from transformers import Trainer, TrainingArguments
    except ImportError:
        return None
    names = sorted(state)
    parameters = {name: torch.nn.Parameter(state[name]) for name in names[: len(names) // 3]}
    model = torch.nn.ParameterDict(parameters)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    arguments = TrainingArguments(output_dir=str(folder), report_to=[], use_cpu=True, save_total_limit=2)
    trainer = Trainer(model=model, args=arguments, optimizers=(optimizer, schedule))

    def save(index: int) -> float:
        trainer.state.global_step = index
        begun = time.perf_counter()
        trainer._save_checkpoint(model, trial=None)  # what `Trainer.train` calls; there is no public name
        return time.perf_counter() - begun

    return save


PEERS: dict[str, Callable[[State, Path], Blocked | None]] = {
    "torch.save": torch_save,
    "torch.save + fsync": torch_save_durable,
    "DCP async_save": dcp_async,
    "Lightning AsyncCheckpointIO": lightning_async,
    "HF Trainer": hf_trainer,
}


@contextmanager
def quiet() -> Iterator[None]:
    """Peers talk while they save."""
    import logging
    import warnings

    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
