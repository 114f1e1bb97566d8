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

import psutil
import torch
from torch import Tensor

from latentwire.training.activation_bytes import Kept
from latentwire.training.exact import Exact
from latentwire.training.gradients import Slope
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import out_of_memory
from latentwire.training.throughput import Throughput
from unbroken.canonical_json import JSON, digest_json
from unbroken.run_folder import events

log = logging.getLogger(__name__)

SHARE = 0.5
"""Of the memory that is free, that activations may take."""


@dataclass(frozen=True)
class Found:
    """What the probe found; `why` is a half-sentence."""

    together: int
    why: str
    activations: int | None
    """Bytes that the backward of one shard keeps; None where it was not measured."""


def settle(gradients: Exact | Throughput, folder: Path, numerics: Mapping[str, JSON]) -> dict[str, JSON]:
    """Choose how many shards go together on each process, from the events of a run folder or by a probe.

    Returns:
        What its next `start` event shall say: the digest of `numerics`, and shards owned → shards together.
    """
    if not isinstance(gradients, Exact):
        return {}
    group, key, count = gradients.group, digest_json(dict(numerics)), len(gradients.mine)
    told = json.dumps(_remembered(folder, key)).encode() if group.rank == 0 else None
    known: dict[str, int] = json.loads(group.broadcast(told))
    if str(count) not in known:
        found = probe(gradients, 1)
        log.info("%d of %d own shards are read together: %s", found.together, count, found.why)
        known[str(count)] = found.together
    gradients.together = known[str(count)]
    every = [json.loads(payload) for payload in group.all_gather_bytes(json.dumps(known).encode())]
    return {"numerics": key, "shards": {owned: size for one in every for owned, size in sorted(one.items())}}


def _remembered(folder: Path, key: str) -> dict[str, int]:
    starts = [
        event.get("together")
        for event in events.read_events(folder / events.EVENTS_FILE)
        if event.get("event") == "start"
    ]
    return {owned: size for one in starts if one and one["numerics"] == key for owned, size in one["shards"].items()}


def probe(exact: Exact, step: int) -> Found:
    """Compute the shards of a step one by one and together, and compare the bytes."""
    count = len(exact.mine)
    if count == 1:
        return Found(1, "this process owns one shard", None)
    if any(len({len(answer) for answer in reader.layout.answers}) > 1 for reader in exact.trainer.receivers):
        return Found(1, "answers have several lengths, so shapes differ from step to step", None)
    exact.trainer.wire.train()
    kept = Kept(_weights(exact.trainer))
    with kept:
        alone = [exact.slopes(step, [exact.mine.start])[0]]
    alone += [exact.slopes(step, [shard])[0] for shard in exact.mine[1:]]
    for together in _halves(min(count, _fitting(kept.bytes))):
        if _same(alone, _together(exact, step, together)):
            return Found(together, "the bytes are those of one by one", kept.bytes)
    return Found(1, "the bytes differ from those of one by one, or do not fit", kept.bytes)


def _weights(trainer: Trainer) -> Iterator[Tensor]:
    yield from trainer.wire.parameters()
    for reader in trainer.receivers:
        yield from reader.parameters()


def _fitting(each: int) -> int:
    """Shards whose activations fit into what is free now, at least one."""
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
    return max(1, int(SHARE * free) // max(1, each))


def _halves(count: int) -> list[int]:
    sizes = []
    while count > 1:
        sizes.append(count)
        count = (count + 1) // 2
    return sizes


def _together(exact: Exact, step: int, together: int) -> list[Slope]:
    """All own shards, some at a time; empty where they do not fit."""
    mine, found = exact.mine, []
    try:
        for first in range(0, len(mine), together):
            found += exact.slopes(step, mine[first : first + together])
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        torch.cuda.empty_cache()
        return []
    return found


def _same(one: Sequence[Slope], two: Sequence[Slope]) -> bool:
    return len(one) == len(two) and all(
        _equal([*a.gradients, *a.means.values()], [*b.gradients, *b.means.values()])
        for a, b in zip(one, two, strict=True)
    )


def _equal(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    # Bytes, not values: -0.0 equals 0.0, and NaN not itself.
    return all(torch.equal(_raw(a), _raw(b)) for a, b in zip(one, two, strict=True))


def _raw(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)
