"""`latentwire verify --recompute --stage NAME`: were the stages that ran again given the published bytes?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from latentwire import digests
from latentwire.verification.lockfile import Lock, LockedStage, UnverifiableError
from latentwire.verification.published import Published
from latentwire.verification.rows import ResultRow, Status
from latentwire.verification.stages import CODE, describe_difference


def needed_stages(published: Published, names: Sequence[str]) -> list[str]:
    """The named stages and all that they are made from, in the order of `dvc.lock`.

    Raises:
        UnverifiableError: One of them was not published.
    """
    for name in names:
        if name not in published.lock:
            raise UnverifiableError(
                f"{published.label} has no results of the stage {name!r}, expected one of "
                f"{', '.join(published.lock)}. Next: name one of these with --stage."
            )
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += _makers(published.lock, published.lock[name].deps)
    return [name for name in published.lock if name in wanted]


def recomputed_rows(clone: Path, published: Published, names: Sequence[str]) -> list[ResultRow]:
    """A row per stage that ran again in `clone` and has results.

    What other bytes mean for the published numbers is seen from all results together, so that it is left open here.
    """
    return [_row(published.lock[name], published, clone) for name in needed_stages(published, names) if name != CODE]


def _makers(lock: Lock, paths: Iterable[str]) -> list[str]:
    return [name for path in paths for name, stage in lock.items() if any(_overlap(path, out) for out in stage.outs)]


def _overlap(one: str, other: str) -> bool:
    """Whether two paths are equal, or one of them is a folder above the other."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _row(stage: LockedStage, published: Published, clone: Path) -> ResultRow:
    made = {out: digests.dvc_digest(clone / out) for out in stage.outs}
    other = next((out for out, digest in made.items() if digest != stage.outs[out]), None)
    if other is None:
        return ResultRow("stage", stage.name, Status.IDENTICAL)
    what = f"{other} is missing" if made[other] is None else describe_difference(other, published, clone)
    said = (
        f"{what}; whether that contradicts a published number is seen from all results. Next: `latentwire verify "
        "--recompute`, without --stage"
    )
    return ResultRow("stage", stage.name, Status.NOT_VERIFIABLE, said)
