"""From parameters and stored data to a trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from latentwire import environment
from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.models.build import configure_torch, load_receivers, new_method
from latentwire.models.features import Features
from latentwire.params.load import Params
from latentwire.params.sections import Runtime
from latentwire.tasks.examples import Example
from latentwire.tasks.stored import StoredTask
from latentwire.training.exact import Exact
from latentwire.training.label_permutation import permute_labels
from latentwire.training.loop import LabelledFeatures, Trainer
from latentwire.training.throughput import Throughput
from latentwire.training.validation import Validation
from unbroken.exact.group import SOLO, Group
from unbroken.preemption import StopFlag
from unbroken.processes.distributed import join_group


def join_process_group(runtime: Runtime, stop: StopFlag) -> Group:
    """Join the other training processes and configure torch; each has one thread and, on `cuda`, a GPU.

    Raises:
        ConfigurationError: There is no GPU.
        PeerError: The others did not come in time.
        unbroken.preemption.Preempted: One of the processes was told to stop.
    """
    cards, asked = torch.cuda.device_count(), environment.requested_processes()
    share_gpus = asked is not None and asked > cards
    group = join_group(stop, nccl=runtime.device == "cuda" and not share_gpus)
    configure_torch(runtime, threads=1)
    if runtime.device == "cuda":
        torch.cuda.set_device(group.local_rank % cards)
    return group


def assemble_trainer(values: Params, item: TrainItem, group: Group = SOLO) -> Trainer:
    """Load data and frozen models and make the method of an item, the same on every process.

    Raises:
        ConfigurationError: A file is missing or the features are of other examples.
    """
    settings, labels = values.methods[item.method], list(values.tasks[item.task].labels)
    task = StoredTask.open(item.task)
    train = _open_split(item, task.split("train"), "train", labels, values.encode.max_tokens)
    if item.permuted:
        train = replace(train, labels=permute_labels(train.labels, item.seed))
    validation = _open_split(item, task.split("validation"), "validation", labels, values.encode.max_tokens)
    frozen = load_receivers(values, settings.receivers, item.task)
    method = new_method(values, item.method, train.features.width, frozen, item.seed)
    readers = [method.adapt(reader) for reader in frozen]
    return Trainer(
        method=method,
        receivers=readers,
        data=train,
        settings=values.train,
        seed=item.seed,
        validate=Validation(method, readers, validation, values.train.validate_.examples, values.evaluate.batch, group),
    )


def make_gradients(trainer: Trainer, group: Group = SOLO) -> Exact | Throughput:
    """What computes the gradients of a step, by `train.mode`."""
    return (Exact if trainer.settings.mode == "exact" else Throughput)(trainer, group)


def _open_split(
    item: TrainItem, rows: Sequence[Example], split: str, labels: Sequence[str], length: int
) -> LabelledFeatures:
    features = Features.open(item.features, split)
    if tuple(row.example_id for row in rows) != features.example_ids:
        raise ConfigurationError(
            f"The {len(features)} features of split {split} in {item.features} are not of the {len(rows)} examples "
            f"that `prepare` stored; expected the same ones in the same order. Next: `dvc repro encode`."
        )
    return LabelledFeatures(features, [labels.index(row.label) for row in rows], length, [row.text for row in rows])
