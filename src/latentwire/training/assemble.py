"""From parameters and stored data to a trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from latentwire.errors import ConfigurationError
from latentwire.evaluation.scoring import score_wires, write_wires
from latentwire.models.build import new_wire, receivers
from latentwire.models.features import Features
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.params import Params
from latentwire.tasks.examples import Example
from latentwire.tasks.stored import StoredTask
from latentwire.training.item import TrainItem
from latentwire.training.loop import Data, Trainer


def assemble(values: Params, item: TrainItem) -> Trainer:
    """Load data and frozen models and make the wire of an item.

    Raises:
        ConfigurationError: A file is missing or the features are of other examples.
    """
    method, labels = values.methods[item.method], list(values.tasks[item.task].labels)
    task = StoredTask.open(item.task)
    train = _data(item, task.split("train"), "train", labels, values.encode.max_tokens)
    validation = _data(item, task.split("validation"), "validation", labels, values.encode.max_tokens)
    readers = receivers(values, method.receivers, item.task)
    wire = new_wire(method, train.features.width, readers, item.seed)
    return Trainer(
        wire=wire,
        receivers=readers,
        data=train,
        settings=values.train,
        seed=item.seed,
        validate=lambda: _accuracies(wire, readers, validation, values.train.validate_.examples, values.evaluate.batch),
    )


def _data(item: TrainItem, rows: Sequence[Example], split: str, labels: Sequence[str], length: int) -> Data:
    features = Features.open(item.features, split)
    if tuple(row.example_id for row in rows) != features.example_ids:
        raise ConfigurationError(
            f"The {len(features)} features of split {split} in {item.features} are not of the {len(rows)} examples "
            f"that `prepare` stored; expected the same ones in the same order. Next: `dvc repro encode`."
        )
    return Data(features, [labels.index(row.label) for row in rows], length)


def _accuracies(wire: Wire, readers: Sequence[Receiver], data: Data, examples: int, batch: int) -> Mapping[str, float]:
    count = min(examples, len(data.labels))
    wires = write_wires(wire, data.features, count, data.length, batch)
    golds = torch.tensor(data.labels[:count])
    return {f"accuracy/{reader.name}": _accuracy(wire, reader, wires, golds, batch) for reader in readers}


def _accuracy(wire: Wire, reader: Receiver, wires: Tensor, golds: Tensor, batch: int) -> float:
    scores = score_wires(wire, reader, wires, batch, lambda count: None)
    return float((scores.argmax(dim=1) == golds).double().mean())
