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
from torch.utils.data import DataLoader, Dataset

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


class Reached(pl.Callback):
    """Tells of each step."""

    def __init__(self, reach: Callable[[int], None]) -> None:
        self.reach = reach

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.reach(trainer.global_step)


def train(
    folder: Path, stop: StopFlag, reach: Callable[[int], None], fault: str = "", workers: int = 0, **options: Any
) -> None:
    """Train in the folder; `reach` is told of each step, `options` are more arguments of the Trainer."""
    pl.seed_everything(1, workers=True, verbose=False)
    kept = UnbrokenFit(folder, identity=Identity({"lr": 0.01}), stop=stop, every=1)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[pl.callbacks.EarlyStopping("val_loss", patience=3), Reached(reach), kept],
        **{
            "max_epochs": 3,
            "accumulate_grad_batches": 2,
            "val_check_interval": 2,
            "enable_checkpointing": False,
            **options,
        },
    )
    model = Classifier(fault == "attribute")
    trainer.fit(model, DataLoader(Digits(22), 4, shuffle=True, num_workers=workers), DataLoader(Digits(8), 4))
    torch.save(model.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), STOP, lambda _step: None, *sys.argv[2:])
