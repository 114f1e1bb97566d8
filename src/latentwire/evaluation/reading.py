"""A finished item's method with its receivers, for reading only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentwire.item import TrainItem
from latentwire.models.build import load_receivers, new_method
from latentwire.models.layout import LayoutState
from latentwire.models.methods import AnyMethod
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params
from unbroken.checkpoint.store import load_checkpoint


@dataclass(frozen=True)
class TrainedItem:
    """A method with the weights of a final checkpoint."""

    method: AnyMethod
    receivers: Sequence[Receiver]
    digest: str
    """SHA-256 of the checkpoint's whole state."""


def load_trained(values: Params, item: TrainItem, sender_width: int) -> TrainedItem:
    """Verify and load the final checkpoint of an item.

    Raises:
        unbroken.errors.CheckpointError: The checkpoint is missing or damaged.
        ConfigurationError: It was trained with another prompt layout (invariant I10).
    """
    settings = values.methods[item.method]
    readers = load_receivers(values, settings.receivers, item.task)
    checkpoint = load_checkpoint(item.results)
    LayoutState({reader.name: reader.layout for reader in readers}).load_state_dict(checkpoint.state("layout"))
    method = new_method(values, item.method, sender_width, readers, item.seed)
    method.load_state_dict(checkpoint.state(settings.kind))
    return TrainedItem(method.eval(), [method.adapt(reader) for reader in readers], checkpoint.manifest.state)
