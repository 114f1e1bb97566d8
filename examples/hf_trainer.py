"""The Trainer of transformers on a small BERT that is made here: accumulation, evaluation, early stopping."""

from unbroken.preemption import StopFlag

stop = StopFlag.install()

import os
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from unbroken import Identity
from unbroken.integrations.hf_trainer import UnbrokenCallback


class Sentences(torch.utils.data.Dataset):
    """Sentences of 12 random tokens, of which some are masked anew at each reading; the label: is `9` in there?"""

    def __init__(self, size, masked):
        self.tokens = torch.randint(4, 20, (size, 12), generator=torch.Generator().manual_seed(size))
        self.masked = masked

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        tokens = self.tokens[index]
        shown = torch.where(torch.rand(12) < self.masked, 3, tokens)
        return {"input_ids": shown, "labels": int((tokens == 9).any())}


def measure_accuracy(prediction):
    """Share of the sentences whose label is found."""
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


set_seed(0)
folder = Path(os.environ.get("UNBROKEN_FOLDER", "runs/hf-trainer"))
config = BertConfig(
    vocab_size=20, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=2
)
arguments = TrainingArguments(
    output_dir=str(folder / "trainer"),
    per_device_train_batch_size=16,
    gradient_accumulation_steps=2,
    num_train_epochs=6,
    learning_rate=5e-3,
    warmup_steps=10,
    eval_strategy="epoch",
    save_strategy="no",
    metric_for_best_model="accuracy",
    logging_steps=5,
    report_to=[],
    disable_tqdm=True,
    use_cpu=not torch.cuda.is_available(),
)
trainer = Trainer(
    BertForSequenceClassification(config),
    arguments,
    train_dataset=Sentences(512, masked=0.1),
    eval_dataset=Sentences(256, masked=0.0),
    compute_metrics=measure_accuracy,
    callbacks=[EarlyStoppingCallback(3)],
)
with UnbrokenCallback(trainer, folder, identity=Identity({"lr": 5e-3}), stop=stop, every=20):
    trainer.train()
trainer.model.save_pretrained(folder / "model")  # `save_model` would store the name of the folder too
