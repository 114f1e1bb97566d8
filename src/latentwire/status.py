"""Where every item of the training matrix stands, read from its run folder; a running trainer is not disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Table

from latentwire.params import Params
from latentwire.training.item import TrainItem
from unbroken import events, journal


@dataclass(frozen=True)
class Standing:
    """What is known of one item."""

    item: str
    step: int
    """Last step in the journal of its newest run folder."""
    durable: int
    """Last step in a checkpoint."""
    starts: int
    verdict: str
    """`finished`, `preempted`, `failed`, `running or killed`, or `not started`."""
    seconds_left: float | None
    """From the pace since the last start; None where nothing is under way."""


def standing(root: Path, item: TrainItem, steps: int) -> Standing:
    """Read one item's newest run folder."""
    folders = sorted((root / "state").glob(f"{item.name}-*/"), key=lambda path: (path / events.NAME).stat().st_mtime)
    if not folders:
        return Standing(item.name, 0, 0, 0, "not started", None)
    recorded = events.read(folders[-1] / events.NAME)
    records = journal.read(folders[-1] / journal.NAME)
    step = records[-1]["step"] if records else 0
    durable = max((event["step"] for event in recorded if event["event"] == "checkpoint"), default=0)
    starts = [event for event in recorded if event["event"] == "start"]
    ended = recorded[-1]["event"] == "end"
    left = None if ended else _seconds_left(starts[-1], folders[-1], step, steps)
    return Standing(
        item.name, step, durable, len(starts), recorded[-1]["verdict"] if ended else "running or killed", left
    )


def table(values: Params, root: Path) -> Table:
    """All items as a table for a terminal."""
    shown = Table("item", "step", "durable", "starts", "standing", "left")
    steps = values.train.steps
    for item in TrainItem.all(values):
        now = standing(root, item, steps)
        left = "" if now.seconds_left is None else f"{now.seconds_left:.0f} s"
        shown.add_row(now.item, f"{now.step}/{steps}", str(now.durable), str(now.starts), now.verdict, left)
    return shown


def _seconds_left(start: dict[str, object], folder: Path, step: int, steps: int) -> float | None:
    done = step - int(str(start["step"]))
    written = (folder / journal.NAME).stat().st_mtime
    spent = written - datetime.fromisoformat(str(start["time"])).timestamp()
    return (steps - step) * spent / done if done > 0 else None
