"""What one process measures on the device of its folder's parameters: passes, the stall of a save, kernels."""

from __future__ import annotations

import copy
import hashlib
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.checkpoint import Ours, memcpy, new_state, seconds
from benchmarks.elastic import deterministic_kernels
from benchmarks.gpu_check.rows import Row, not_measured, yes_or_no
from benchmarks.trainer import default_trainer
from benchmarks.training import Updates
from latentwire.params.load import load_params
from latentwire.training.exact import Exact
from latentwire.training.loop import Trainer
from latentwire.training.shard_batching import try_batching

STEPS = 3
MEGABYTES, SAVES = 200, 9
STALL = 1.25
"""Of a memcpy of the same bytes."""
KERNELS = "a step with deterministic kernels / without"


def measure_passes() -> Iterator[Row]:
    """Shards read one by one, some at once, and as many as the train stage chooses."""
    trainer = default_trainer(load_params().runtime.numerics == "portable")
    shards = trainer.settings.shards
    chosen = try_batching(Exact(trainer), 1).shards_per_pass
    digests = {size: digest_training(trainer, size) for size in {1, chosen, shards // 2, shards}}
    same = [str(size) for size in sorted(digests) if digests[size] == digests[1]]
    name = f"{shards} shards, {chosen} in a pass as the trial chose"
    yield yes_or_no(name, "the bytes of one by one", digests[chosen] == digests[1], "other bytes")
    tried = ", ".join(map(str, sorted(digests)))
    yield Row(f"shards in a pass: {tried}", f"the bytes of one by one with {', '.join(same)}")


def digest_training(trainer: Trainer, size: int) -> str:
    """SHA-256 of the weights after some steps with so many shards in a pass, from the same start each time."""
    own = replace(trainer, method=copy.deepcopy(trainer.method))
    exact, update = Exact(own, shards_per_pass=size), Updates(own, own.wire)
    own.wire.train()
    for step in range(1, STEPS + 1):
        for parameter, gradient in zip(own.wire.parameters(), exact(step)[0], strict=True):
            parameter.grad = gradient
        update()
    content = hashlib.sha256()
    for parameter in own.wire.parameters():
        content.update(parameter.detach().cpu().numpy().tobytes())
    return content.hexdigest()


def measure_stall() -> Iterator[Row]:
    """What a save keeps the loop from: until the device may change the state again."""
    device = torch.device(load_params().runtime.device)
    state = {name: tensor.to(device) for name, tensor in new_state(MEGABYTES).items()}
    with tempfile.TemporaryDirectory() as folder:
        ours, ratios = Ours(state, Path(folder)), list[float]()
        plain = memcpy(state) if device.type == "cpu" else page_locked_memcpy(state)
        for index in range(SAVES):
            stall = seconds(lambda index=index: (ours.blocked(index), wait_for(device)))  # type: ignore[misc]
            ours.writer.drain()
            ratios.append(stall / plain(index))
        ours.writer.close()
    middle = statistics.median(ratios[3:])  # the first ones warm up
    seen = f"{middle:.2f} x one memcpy ({min(ratios[3:]):.2f} to {max(ratios[3:]):.2f})"
    judged = device.type == "cuda"  # page-locked copies are what the goal is for
    goal = f"<= {STALL} x" if judged else ""
    yield Row(f"stall of a save of {MEGABYTES} MB", seen, goal, middle <= STALL if judged else None)


def page_locked_memcpy(state: dict[str, Tensor]) -> Callable[[int], float]:
    """A copy of the state into page-locked memory that is already there."""
    targets = {name: torch.empty(t.shape, dtype=t.dtype, device="cpu", pin_memory=True) for name, t in state.items()}

    def once(_index: int) -> float:
        begun = time.perf_counter()
        for name, tensor in state.items():
            targets[name].copy_(tensor, non_blocking=True)
        torch.cuda.synchronize()
        return time.perf_counter() - begun

    return once


def wait_for(device: torch.device) -> None:
    """Until the device has done what the loop's own stream has to do."""
    if device.type == "cuda":
        torch.cuda.current_stream().synchronize()


def measure_kernels() -> Iterator[Row]:
    """Ratios of steps in turn, of the model of `make bench-elastic`."""
    device = load_params().runtime.device
    if device == "cpu":
        yield not_measured(KERNELS, "no GPU")
        return
    ratios = deterministic_kernels(Namespace(device=device, pairs=5, steps=5))
    yield Row(KERNELS, f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


MEASURES: dict[str, Callable[[], Iterator[Row]]] = {
    "passes": measure_passes,
    "stall": measure_stall,
    "kernels": measure_kernels,
}
