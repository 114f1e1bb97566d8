"""The identity of every training's run, whoever's stage trains it."""

from __future__ import annotations

from pathlib import Path

from latentwire.item import TrainItem, own_identity
from latentwire.params.load import AnyParams, Params
from latentwire.training.run_identity import identity
from unbroken.run_folder.identity import Identity


def identity_of(values: AnyParams, item: TrainItem, root: Path = Path()) -> Identity:
    """What defines an item's run (invariant I1).

    Raises:
        ConfigurationError: The results of `prepare` and `encode` are not there.
    """
    return identity(values, item, root) if isinstance(values, Params) else own_identity(values, item, root)
