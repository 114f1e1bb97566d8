"""DistributedDataParallel as people write it: BatchNorm, DistributedSampler, a schedule, noise of each rank.

`OMP_NUM_THREADS=1 torchrun --nproc-per-node=2 ddp.py`
"""

from unbroken.preemption import StopFlag

stop = StopFlag.install()

import os
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from unbroken import Identity, Run
from unbroken.exact.randomness import seed_all
from unbroken.processes.ddp import fix_sum_order
from unbroken.processes.distributed import join_group

EPOCHS, BATCH = 4, 32


def read_digits():
    """Images (1797, 64) in 0 to 1 and their digits (1797,)."""
    images, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long())


dist.init_process_group("gloo")
group = join_group(stop)  # + the run's own messages, beside those of DDP
seed_all(0)
layers = (torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
net = torch.nn.Sequential(*layers)
model = DistributedDataParallel(net)
fix_sum_order(model)  # + the same sums after a resume
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
data = read_digits()
sampler = DistributedSampler(data, seed=1)
loader = DataLoader(data, BATCH, sampler=sampler)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
noise = torch.Generator().manual_seed(group.rank)

folder = Path(os.environ.get("UNBROKEN_FOLDER", "runs/ddp"))
state = {"model": net, "optimizer": optimizer, "schedule": schedule}
options = {"state": state, "per_rank": {"noise": noise}, "group": group, "stop": stop, "every": 20}
with Run(folder, identity=Identity({"lr": 0.01}), **options) as run:
    for epoch in run.epochs(EPOCHS, loader):
        sampler.set_epoch(epoch.number)
        for _step, (images, labels) in epoch.batches(loader):
            noisy = images + 0.1 * torch.randn(images.shape, generator=noise)
            loss = torch.nn.functional.cross_entropy(model(noisy), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            run.log(loss=loss)
    run.export(folder / "final")
dist.destroy_process_group()
