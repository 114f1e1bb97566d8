"""A finished item's wire with its receivers, for reading only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentwire.item import TrainItem
from latentwire.models.build import load_receivers, new_wire
from latentwire.models.layout import LayoutState
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.params.load import Params
from unbroken.checkpoint.store import load_checkpoint


@dataclass(frozen=True)
class TrainedWire:
    """A wire with the weights of a final checkpoint."""

    wire: Wire
    receivers: Sequence[Receiver]
    digest: str
    """SHA-256 of the checkpoint's whole state."""


def load_trained(values: Params, item: TrainItem, sender_width: int) -> TrainedWire:
    """Verify and load the final checkpoint of an item.

    Raises:
        unbroken.errors.CheckpointError: The checkpoint is missing or damaged.
        ConfigurationError: It was trained with another prompt layout (invariant I10).
    """
    method = values.methods[item.method]
    readers = load_receivers(values, method.receivers, item.task)
    checkpoint = load_checkpoint(item.results)
    LayoutState({reader.name: reader.layout for reader in readers}).load_state_dict(checkpoint.state("layout"))
    wire = new_wire(method, sender_width, readers, item.seed)
    wire.load_state_dict(checkpoint.state("wire"))
    return TrainedWire(wire.eval(), readers, checkpoint.manifest.state)
