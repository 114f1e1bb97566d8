"""DistributedDataParallel as people write it: BatchNorm, DistributedSampler, noise of each rank, a log of rank 0.

`torchrun --nproc-per-node=2 ddp.py FOLDER EXPORT`. With OWN_STATISTICS=1 no rank gets the BatchNorm of rank 0.
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from unbroken import Identity, Run
from unbroken.exact.randomness import seed_all
from unbroken.processes.ddp import fix_sum_order
from unbroken.processes.distributed import join_group

EPOCHS, SAMPLES, BATCH = 3, 47, 4


def train(folder: Path, target: Path, stop: StopFlag) -> None:
    """Train with the other ranks, which are found through the variables of torchrun."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    group = join_group(stop)
    seed_all(0)  # Python and numpy too: what a run begins with is part of its bits
    net = torch.nn.Sequential(
        torch.nn.Linear(13, 31),
        torch.nn.BatchNorm1d(31),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(31, 7),
    )
    own_statistics = os.environ.get("OWN_STATISTICS") == "1"
    model = DistributedDataParallel(net, bucket_cap_mb=0.001)
    model.broadcast_buffers = not own_statistics  # the argument has another name in each version of torch
    fix_sum_order(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    data = TensorDataset(torch.linspace(-3, 3, SAMPLES * 13).reshape(SAMPLES, 13).sin(), torch.arange(SAMPLES) % 7)
    sampler = DistributedSampler(data, seed=1)
    loader = DataLoader(data, BATCH, sampler=sampler, generator=torch.Generator())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    noise = torch.Generator().manual_seed(group.rank)
    state = {"model": net, "optimizer": optimizer, "schedule": schedule}
    per_rank = {"noise": noise, **({"statistics": dict(net.named_buffers())} if own_statistics else {})}
    with Run(
        folder, identity=Identity({"lr": 0.01}), state=state, per_rank=per_rank, stop=stop, group=group, every=3
    ) as run:
        for epoch in range(EPOCHS):
            sampler.set_epoch(epoch)
            passed = max(0, run.step - epoch * len(loader))
            for step, (x, y) in zip(run.steps((epoch + 1) * len(loader)), islice(loader, passed, None), strict=False):
                loss = torch.nn.functional.cross_entropy(model(x + 0.1 * torch.randn(x.shape, generator=noise)), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                run.log(loss=loss)
                if group.rank == 0 and step % len(loader) == 0:
                    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
        run.export(target)
    dist.destroy_process_group()


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), STOP)
