"""What all processes of a run have to ask for alike: one that asks for more would wait for others that are done."""

from __future__ import annotations

from unbroken.errors import UnbrokenError
from unbroken.exact.group import Group


def check_same_size(group: Group, size: int) -> None:
    """All processes make as many steps in an epoch.

    Raises:
        UnbrokenError: They do not.
    """
    _check_same(
        group,
        size,
        "An epoch has {} batches on rank 0 and {} on rank {}",
        "give every rank as many batches (DistributedSampler does), or call run.epochs(number, batches) with the "
        "smallest number.",
    )


def check_same_total(group: Group, total: int | None) -> None:
    """All processes go on to the same step; None is a loop without an end of its own.

    Raises:
        UnbrokenError: They do not.
    """
    _check_same(
        group,
        total,
        "The loop was asked for {} steps on rank 0 and for {} steps on rank {}",
        "give every rank the same number of steps.",
    )


def _check_same(group: Group, number: int | None, found: str, advice: str) -> None:
    answer = "any number of" if number is None else str(number)
    told = [answer.decode() for answer in group.all_gather_bytes(answer.encode())]
    other = next((rank for rank, answer in enumerate(told) if answer != told[0]), None)
    if other is not None:
        raise UnbrokenError(f"{found.format(told[0], told[other], other)}, expected as many on all. Next: {advice}")
