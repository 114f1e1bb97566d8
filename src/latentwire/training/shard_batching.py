"""How many shards the frozen models read in one pass: as many as fit, if the bits stay those of one by one.

The kernel that multiplies matrices is chosen by their shapes, and another kernel may sum in another order. So one step
is computed both ways on this very machine before the training begins. That says something of all later steps only if
their shapes are the same: with answers of several lengths they are not, and shards are read one by one.

Shapes: V shards, B/V examples in a shard.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentwire.machine import available_memory
from latentwire.training.activation_bytes import SavedActivationBytes
from latentwire.training.exact import Exact
from latentwire.training.gradients import BatchGradients
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import is_out_of_memory
from latentwire.training.throughput import Throughput
from unbroken.canonical_json import JSON, digest_json
from unbroken.run_folder import events

log = logging.getLogger(__name__)

FREE_MEMORY_SHARE = 0.5
"""Of the memory that is free, the share that activations may take."""


@dataclass(frozen=True)
class ProbeResult:
    """What a trial found; `why` is a half-sentence."""

    shards_per_pass: int
    why: str
    activations: int | None
    """Bytes that the backward of one shard keeps; None where it was not measured."""


def choose_shards_per_pass(
    gradients: Exact | Throughput, folder: Path, numerics: Mapping[str, JSON]
) -> dict[str, JSON]:
    """Choose how many shards each process reads in one pass: as recorded in the run folder, or by a trial.

    Returns:
        What the next `start` event says: the digest of `numerics`, and shards owned → shards per pass.
    """
    if not isinstance(gradients, Exact):
        return {}
    group, key, count = gradients.group, digest_json(dict(numerics)), len(gradients.owned_shards)
    remembered = json.dumps(_read_choices(folder, key)).encode() if group.rank == 0 else None
    known: dict[str, int] = json.loads(group.broadcast(remembered))
    if str(count) not in known:
        result = try_batching(gradients, 1)
        log.info("%d of %d own shards are read together: %s", result.shards_per_pass, count, result.why)
        known[str(count)] = result.shards_per_pass
    gradients.shards_per_pass = known[str(count)]
    choices = [json.loads(payload) for payload in group.all_gather_bytes(json.dumps(known).encode())]
    return {"numerics": key, "shards": {owned: size for chosen in choices for owned, size in sorted(chosen.items())}}


def _read_choices(folder: Path, key: str) -> dict[str, int]:
    """Shards owned → shards per pass, from those starts of a run whose numerics have this digest."""
    starts = (event for event in events.read_events(folder / events.EVENTS_FILE) if event.get("event") == "start")
    choices = [choice for event in starts if (choice := event.get("together"))]
    return {owned: size for choice in choices if choice["numerics"] == key for owned, size in choice["shards"].items()}


def try_batching(exact: Exact, step: int) -> ProbeResult:
    """Compute the shards of a step one by one and together, and compare the bytes."""
    owned = exact.owned_shards
    if len(owned) == 1:
        return ProbeResult(1, "this process owns one shard", None)
    if not exact.trainer.method.reads_in_one_shape:
        return ProbeResult(1, "what receivers read has several lengths, or they are trained themselves", None)
    if any(len({len(answer) for answer in reader.layout.answers}) > 1 for reader in exact.trainer.receivers):
        return ProbeResult(1, "answers have several lengths, so shapes differ from step to step", None)
    exact.trainer.method.train()
    saved = SavedActivationBytes(_list_weights(exact.trainer))
    with saved:
        alone = exact.compute_shards(step, [owned.start])
    for shard in owned[1:]:
        alone += exact.compute_shards(step, [shard])
    for size in _halve_repeatedly(min(len(owned), _count_fitting(saved.bytes))):
        if _same_bytes(alone, _compute_together(exact, step, size)):
            return ProbeResult(size, "the bytes are those of one by one", saved.bytes)
    return ProbeResult(1, "the bytes differ from those of one by one, or do not fit", saved.bytes)


def _list_weights(trainer: Trainer) -> Iterator[Tensor]:
    yield from trainer.method.parameters()
    for reader in trainer.receivers:
        yield from reader.parameters()


def _count_fitting(bytes_each: int) -> int:
    """Shards whose activations fit into what is free now, at least one."""
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else available_memory()
    return max(1, int(FREE_MEMORY_SHARE * free) // max(1, bytes_each))


def _halve_repeatedly(count: int) -> list[int]:
    sizes = []
    while count > 1:
        sizes.append(count)
        count = (count + 1) // 2
    return sizes


def _compute_together(exact: Exact, step: int, size: int) -> list[BatchGradients]:
    """All own shards, `size` at a time; empty where they do not fit."""
    owned = exact.owned_shards
    computed: list[BatchGradients] = []
    try:
        for first in range(0, len(owned), size):
            computed += exact.compute_shards(step, owned[first : first + size])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        torch.cuda.empty_cache()
        return []
    return computed


def _same_bytes(first: Sequence[BatchGradients], second: Sequence[BatchGradients]) -> bool:
    return len(first) == len(second) and all(
        # Bytes, not values: -0.0 equals 0.0, and NaN not itself.
        torch.equal(_view_bytes(a), _view_bytes(b))
        for pair in zip(first, second, strict=True)
        for a, b in zip(*map(_list_tensors, pair), strict=True)
    )


def _list_tensors(computed: BatchGradients) -> list[Tensor]:
    return [*computed.gradients, *computed.means.values()]


def _view_bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)
