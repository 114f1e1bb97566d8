"""A tiny BERT under the Trainer of transformers: accumulation, workers that draw, evaluation, early stopping.

`python hf_trainer_loop.py FOLDER [FAULT]`, with FAULT `callback`: a callback whose count is in no state.
"""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from unbroken import Identity
from unbroken.integrations.hf_trainer import UnbrokenCallback


class Sentences(torch.utils.data.Dataset):
    """Random tokens, some of which are masked anew whenever they are read."""

    def __init__(self, size: int, noisy: bool) -> None:
        self.size, self.noisy = size, noisy
        self.tokens = torch.randint(4, 50, (size, 8), generator=torch.Generator().manual_seed(size))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = self.tokens[index]
        masked = torch.where(torch.rand(8) < 0.2, 3, tokens) if self.noisy else tokens
        return {"input_ids": masked, "labels": tokens[0] % 2}


class Counter(TrainerCallback):
    """Tells of each step, and halves the rate in every seventh since the program began, if it may: a fault."""

    def __init__(self, reach: Callable[[int], None], halves: bool) -> None:
        self.reach, self.halves, self.count = reach, halves, 0

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **_):
        self.count += 1
        if self.halves and self.count % 7 == 0:
            optimizer.param_groups[0]["lr"] *= 0.5
        self.reach(state.global_step + 1)


def train(
    folder: Path, stop: StopFlag, reach: Callable[[int], None], fault: str = "", train_data: Any = None, **options: Any
) -> None:
    """Train in the folder; `reach` is told of each step, `options` are more arguments of the Trainer."""
    set_seed(0)
    args = TrainingArguments(
        output_dir=str(folder / "output"),
        **{
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "num_train_epochs": 4,
            "learning_rate": 1e-3,
            "warmup_steps": 3,
            "logging_steps": 2,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "metric_for_best_model": "eval_loss",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            **options,
        },
    )
    config = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    trainer = Trainer(
        BertForSequenceClassification(config),
        args,
        train_dataset=train_data or Sentences(22, noisy=True),
        eval_dataset=Sentences(8, noisy=False),
        callbacks=[EarlyStoppingCallback(2), Counter(reach, fault == "callback")],
    )
    with UnbrokenCallback(trainer, folder, identity=Identity({"lr": 1e-3}), stop=stop, every=1):
        trainer.train()
    torch.save(trainer.model.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), STOP, lambda _step: None, *sys.argv[2:])
