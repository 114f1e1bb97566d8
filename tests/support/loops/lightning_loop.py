"""A tiny model under Lightning's Trainer: accumulation, noise, epoch means, a plateau, validation, early stopping.

`python lightning_loop.py FOLDER [FAULT]`, with FAULT `attribute`: a module that counts in an attribute.
"""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics
from torch.utils.data import DataLoader, Dataset, IterableDataset

from unbroken import Identity
from unbroken.integrations.lightning_trainer import UnbrokenFit


class Digits(Dataset):
    """Points with noise that is drawn whenever they are read."""

    def __init__(self, size: int) -> None:
        self.points = torch.randn(size, 4, generator=torch.Generator().manual_seed(size))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        point = self.points[index]
        return point + 0.1 * torch.randn(4), (point.sum() > 0).long()


class Stream(IterableDataset):
    """Ten points without a length, drawn as they are read."""

    def __iter__(self):
        for number in range(10):
            yield torch.randn(4), torch.tensor(number % 2)


class Classifier(pl.LightningModule):
    def __init__(self, forgets: bool) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
        self.accuracy = torchmetrics.MeanMetric()
        self.forgets, self.count = forgets, 0

    def training_step(self, batch, batch_idx):
        points, labels = batch
        self.count += 1
        scale = 1 / self.count if self.forgets else 1
        logits = self.net(points)
        loss = torch.nn.functional.cross_entropy(logits, labels) * scale
        self.accuracy((logits.argmax(1) == labels).float().mean())
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        points, labels = batch
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(points), labels))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "loss_epoch"}}


class ByHand(Classifier):
    """Two optimizers: one steps in every second batch, the other in every fourth, with what was gathered until then."""

    def __init__(self, forgets: bool) -> None:
        super().__init__(forgets)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer, every in ((first, 2), (second, 4)):
            if (batch_idx + 1) % every == 0:
                optimizer.step()
                optimizer.zero_grad()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()

    def configure_optimizers(self):
        first = torch.optim.AdamW(self.net[0].parameters(), lr=0.01)
        second = torch.optim.SGD(self.net[2].parameters(), lr=0.1, momentum=0.9)
        return [first, second], [torch.optim.lr_scheduler.ExponentialLR(first, 0.5)]


class Reached(pl.Callback):
    """Tells of each step, and ends the training in one."""

    def __init__(self, reach: Callable[[int], None], kept: UnbrokenFit, ends_in: int) -> None:
        self.reach, self.kept, self.ends_in = reach, kept, ends_in

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.reach(self.kept.run.step + 1)
        trainer.should_stop |= 0 < trainer.global_step == self.ends_in


def train(
    folder: Path,
    stop: StopFlag,
    reach: Callable[[int], None],
    fault: str = "",
    workers: int = 0,
    module: Callable[[bool], Classifier] = Classifier,
    data: Any = None,
    ends_in: int = 0,
    **options: Any,
) -> None:
    """Train in the folder; `reach` is told of each step, `options` are more arguments of the Trainer."""
    pl.seed_everything(1, workers=True, verbose=False)
    kept = UnbrokenFit(folder, identity=Identity({"lr": 0.01}), stop=stop, every=1)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[pl.callbacks.EarlyStopping("val_loss", patience=3), Reached(reach, kept, ends_in), kept],
        **{
            "max_epochs": 3,
            "accumulate_grad_batches": 2,
            "val_check_interval": 2,
            "enable_checkpointing": False,
            **options,
        },
    )
    model = module(fault == "attribute")
    shuffled = DataLoader(Digits(22), 4, shuffle=True, num_workers=workers)
    loader = shuffled if data is None else DataLoader(data, 4, num_workers=workers)
    trainer.fit(model, loader, DataLoader(Digits(8), 4))
    torch.save(model.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), STOP, lambda _step: None, *sys.argv[2:])
