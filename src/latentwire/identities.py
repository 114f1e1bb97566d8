"""The identity of every training's run, whoever's stage trains it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latentwire.errors import ConfigurationError
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


def find_identities(
    values: AnyParams, root: Path, known: Mapping[str, str] | None = None
) -> tuple[dict[str, str], str]:
    """Item → short identity, in DVC's order, and why the others have none. Slow: it reads code and data.

    Args:
        values: The parameters.
        root: The repository.
        known: Identities that were found before; these are not looked for again.

    Returns:
        The identities, and the error of the first item that has none, because `prepare` or `encode` did not run; empty
        where every item has one.
    """
    found, missing = dict[str, str](), ""
    for item in TrainItem.all(values):
        try:
            found[item.name] = (known or {}).get(item.name) or identity_of(values, item, root).short
        except ConfigurationError as error:
            missing = missing or str(error)
    return found, missing
