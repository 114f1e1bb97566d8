"""A small training on any number of processes and machines: `python multi_node_training.py FOLDER TARGET COUNT PAUSE`.

COUNT processes on each machine. A step lasts PAUSE seconds at least, so that a test can meet it. Each rank says after
which step it left.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from unbroken import environment
from unbroken.launcher.launch import launch_ranks
from unbroken.preemption import Preempted, StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()
    COUNT = int(sys.argv[3])
    if environment.read_rank_info() is None:
        sys.exit(launch_ranks(COUNT, STOP, rule=lambda _cores, _: COUNT))

import torch

from tests.support.toy_training import Unsynced
from unbroken.exact.fold import fold
from unbroken.exact.group import Group
from unbroken.exact.randomness import seed_all, torch_generator
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity
from unbroken.standard_streams import print_line

SHARDS, STEPS = 4, 30
IDENTITY = Identity({"lr": 0.05})


def train(folder: Path, target: Path, stop: StopFlag, group: Group, pause: float = 0.0) -> None:
    """From where it was to its end, then export."""
    seed_all(5)
    model = torch.nn.Linear(6, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)

    def leaf(shard: int) -> list[torch.Tensor]:
        features = torch.randn(7, 6, generator=torch_generator(5, step, shard, "data"))
        loss = model(features).square().mean()
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    state = {"model": model, "optimizer": optimizer}
    files = Unsynced()
    with Run(folder, identity=IDENTITY, state=state, stop=stop, group=group, every=5, files=files) as run:
        for step in run.steps(STEPS):
            loss, *gradients = fold(leaf, SHARDS, group)
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            run.log(loss=loss)
            seed_all(5, step)
            time.sleep(pause)
        run.export(target)


def main(folder: Path, target: Path, pause: float) -> None:
    """As one rank."""
    group = join_group(STOP)
    try:
        train(folder, target, STOP, group, pause)
    except Preempted as left:
        print_line(f"rank {group.rank}: {left}", sys.stdout)
        raise
    group.barrier()
    group.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[4]))
