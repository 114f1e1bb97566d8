"""A trainer over virtual shards for any number of processes: fold, dropout, schedule, clipping, AdamW.

`python elastic_training.py FOLDER TARGET` is one of them, or the only one; the places for signals (`planned_signals`)
are import, join, start, step, save and end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.planned_signals import planned_signal, send_planned_signal
from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()
    send_planned_signal("import")

import torch
from torch import Tensor

from tests.support.toy_training import Unsynced
from unbroken.errors import UnbrokenError
from unbroken.exact.fold import fold
from unbroken.exact.group import Group
from unbroken.exact.randomness import sample_ids, seed_all
from unbroken.launcher.local_ranks import LOOPBACK, find_free_port
from unbroken.preemption import Preempted
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity
from unbroken.standard_streams import print_line

STEPS, SHARDS, PER_SHARD, SAMPLES = 24, 8, 2, 50
BUSY = 9
"""The step in which something happens."""
SEED = 5
QUIET = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
IDENTITY = Identity({"train": {"lr": 0.05, "shards": SHARDS}, "seed": SEED})


class SlowDisk(Unsynced):
    """The first checkpoint takes its time, and another process gets its signal meanwhile."""

    def __init__(self, pid: int, number: signal.Signals) -> None:
        self._pid, self._number, self._told = pid, number, False

    def sync(self, _descriptor: int, path: Path) -> None:
        """Slow, once."""
        if "checkpoints" in path.parts and not self._told:
            self._told = True
            os.kill(self._pid, self._number)
            time.sleep(0.3)


class Trainer:
    """What each process does to its copy of the state."""

    def __init__(self) -> None:
        seed_all(SEED)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(5, 8), torch.nn.LayerNorm(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.05, total_steps=STEPS)
        self.features = torch.linspace(-1, 1, SAMPLES * 5).reshape(SAMPLES, 5).sin()

    def state(self) -> dict[str, Any]:
        """For the Run."""
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def leaf(self, step: int, shard: int) -> list[Tensor]:
        """Gradients and loss of one shard; dropout is a function of step and shard."""
        if step == BUSY:
            send_planned_signal("step")
        seed_all(SEED, step, shard, "dropout")
        ids = sample_ids(SEED, step, SHARDS * PER_SHARD, SAMPLES)[shard * PER_SHARD :][:PER_SHARD]
        loss = torch.nn.functional.cross_entropy(self.model(self.features[ids]), torch.from_numpy(ids % 2))
        return [*torch.autograd.grad(loss, list(self.model.parameters())), loss.detach()]

    def step(self, step: int, group: Group) -> dict[str, float]:
        """One optimizer step from the folded gradients."""
        *gradients, loss = (total / SHARDS for total in fold(lambda shard: self.leaf(step, shard), SHARDS, group))
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss.item(), "norm": norm.item(), "lr": self.schedule.get_last_lr()[0]}


Spoil = Callable[[Trainer, Group], object]


def train(folder: Path, target: Path, stop: StopFlag, spoil: Spoil | None = None, **options: Any) -> None:
    """Join, train to the end or to a stop, export. `spoil` may change what a rank has before it starts."""
    torch.set_num_threads(1)
    send_planned_signal("join")
    group = join_group(stop)
    trainer = Trainer()
    if spoil:
        spoil(trainer, group)
    send_planned_signal("start")
    settings = {"identity": IDENTITY, "every": 4, "lock_timeout": 0.0, "files": _disk(group), **options}
    with Run(folder, state=trainer.state(), stop=stop, group=group, **settings) as run:
        for step in run.steps(STEPS):
            run.log(**trainer.step(step, group))
        send_planned_signal("end")
        run.export(target)
    group.close()


def _disk(group: Group) -> Unsynced:
    pids = [int(pid) for pid in group.all_gather_bytes(str(os.getpid()).encode())]
    asked = planned_signal()
    if asked and asked[2] == "save" and group.rank == 0:
        return SlowDisk(pids[asked[0]], asked[1])
    return Unsynced()


Action = Callable[[StopFlag], object]
PATIENCE_S = 90.0


def places(size: int, **variables: str) -> list[Mapping[str, str]]:
    """The variables of each process, as torchrun would set them."""
    if size == 1:
        return [variables]
    meeting = {**QUIET, "WORLD_SIZE": str(size), "MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(find_free_port(LOOPBACK))}
    return [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank), **variables} for rank in range(size)]


def forked(places: list[Mapping[str, str]], action: Action, log: Path | None = None) -> list[int]:
    """Run in forked processes, which start at once, each with its variables; returns their exit statuses.

    Raises TimeoutError when one does not end; all are ended then.
    """
    pids = [_forked(place, action, log) for place in places]
    ends: dict[int, int] = {}
    limit = time.monotonic() + PATIENCE_S
    while len(ends) < len(pids) and time.monotonic() < limit:
        for pid in set(pids) - set(ends):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                ends[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    late = [pid for pid in pids if pid not in ends]
    for pid in late:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if late:
        raise TimeoutError(f"{len(late)} of {len(pids)} processes hung; those that ended: {sorted(ends.values())}")
    return [ends[pid] for pid in pids]


def _forked(place: Mapping[str, str], action: Action, log: Path | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(place)
        if log:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        code = _code(lambda: action(StopFlag.install()))
    finally:
        os._exit(code)


def _code(action: Callable[[], object]) -> int:
    try:
        action()
    except Preempted as left:
        return int(left.code or 0)
    except UnbrokenError as error:
        print_line(str(error), sys.__stderr__)
        return error.exit_code
    except BaseException:
        print_line(traceback.format_exc(), sys.__stderr__)
        return 1
    return 0


if __name__ == "__main__":
    os._exit(_code(lambda: train(Path(sys.argv[1]), Path(sys.argv[2]), STOP)))
