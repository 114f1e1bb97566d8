"""A full disk: older checkpoints give way to the save with which a run ends or stops, one at a time.

To a periodic save those give way that are beyond `keep`: a start with a smaller one finds them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from unbroken.checkpoint.store import CheckpointStore
from unbroken.errors import StorageError

T = TypeVar("T")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def lacks_space(error: StorageError) -> bool:
    """Did the disk refuse since it, or the user's part of it, is full?"""
    return error.number in _FULL


def make_room(
    store: CheckpointStore,
    what: str,
    action: Callable[[], T],
    report: Callable[[str], None],
    spares_keep: bool = False,
) -> T:
    """Do `what` by `action`, again and again while the disk is full and an older checkpoint can give way.

    The newest one that was read as good stays, as does what is pinned. `spares_keep`: and as many as `keep` says.

    Raises:
        StorageError: The disk refused, and there is nothing that may give way.
    """
    while True:
        try:
            return action()
        except StorageError as error:
            spares = store.spare_steps(spares_keep) if lacks_space(error) else []
            if not _remove_first(store, spares, f"{what} ({errno.errorcode.get(error.number)})", report):
                raise


def advise_on_space(store: CheckpointStore) -> str:
    """What to do when periodic saves find no room since older checkpoints take it; empty if it would not help."""
    older = store.spare_steps(spares_keep=False)
    if store.keep == 1 or not older:
        return ""
    count = f"{len(older)} older checkpoint{'s' * (len(older) > 1)}"
    return (
        f" {count} beside the newest good one take{'s' * (len(older) == 1)} up space, and none is removed before a "
        f"newer one is durable. If it never fits, say `Run(keep=1)` instead of keep={store.keep}: the next start then "
        f"lets them go."
    )


def _remove_first(store: CheckpointStore, spares: list[int], what: str, report: Callable[[str], None]) -> bool:
    for step in spares:
        if store.remove_spare(step):
            report(
                f"The disk is full: the checkpoint of step {step} was removed to make room to {what}. That of step "
                f"{store.good_step} stays."
            )
            return True
    return False
