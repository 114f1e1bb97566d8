"""An item as MLflow shows it."""

from __future__ import annotations

from latentwire.params import Params
from latentwire.tracking.runs import Item
from latentwire.training.item import TrainItem, defining_params


def tracked(values: Params, item: TrainItem, identity: str) -> Item:
    """Name, identity, parameters and tags of an item's one MLflow run."""
    tags = {"method": item.method, "task": item.task, "seed": str(item.seed), "stage": "train"}
    return Item(item.name, identity, {**defining_params(values, item), "seed": item.seed}, tags)
