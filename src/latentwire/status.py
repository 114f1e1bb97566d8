"""Where every item of the training matrix stands, read from its run folder; a running trainer is not disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Table

from latentwire.params import Params
from latentwire.training.item import TrainItem, identity
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


def standing(state: Path, item: str, identity: str, steps: int) -> Standing:
    """Read the run folder of an item; `identity` is the short digest in its name."""
    folder = state / f"{item}-{identity}"
    recorded = events.read(folder / events.NAME)
    if not recorded:
        return Standing(item, 0, 0, 0, "not started", None)
    records = journal.read(folder / journal.NAME)
    step = records[-1]["step"] if records else 0
    durable = max((event["step"] for event in recorded if event["event"] == "checkpoint"), default=0)
    starts = [event for event in recorded if event["event"] == "start"]
    ended = recorded[-1]["event"] == "end"
    left = None if ended else _seconds_left(starts[-1], folder, step, steps)
    return Standing(item, step, durable, len(starts), recorded[-1]["verdict"] if ended else "running or killed", left)


def table(values: Params, root: Path) -> Table:
    """All items as a table for a terminal.

    Raises:
        ConfigurationError: The items have no identity yet, because `prepare` or `encode` did not run.
    """
    shown = Table("item", "identity", "step", "durable", "starts", "standing", "left")
    steps = values.train.steps
    for item in TrainItem.all(values):
        short = identity(values, item, root).short
        now = standing(root / "state", item.name, short, steps)
        left = "" if now.seconds_left is None else f"{now.seconds_left:.0f} s"
        shown.add_row(now.item, short, f"{now.step}/{steps}", str(now.durable), str(now.starts), now.verdict, left)
    return shown


def _seconds_left(start: dict[str, object], folder: Path, step: int, steps: int) -> float | None:
    done = step - int(str(start["step"]))
    written = (folder / journal.NAME).stat().st_mtime
    spent = written - datetime.fromisoformat(str(start["time"])).timestamp()
    return (steps - step) * spent / done if done > 0 else None
