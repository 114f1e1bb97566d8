"""What somebody should look at now: each alert says what was seen, and since when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from statistics import mean

from latentwire.dashboard.facts import Facts, ItemFacts
from latentwire.dashboard.machine_series import LOW_PERCENT, split_starts
from latentwire.journal_sample import LOSS
from latentwire.sizes import GIB, format_bytes
from latentwire.tracking.readings import Reading

STALL_S, STALL_STEPS = 300.0, 10
"""A step that takes longer than both, the second in steps of the pace so far, is a stall: validation takes time."""
FIRST_STEP_S = 900.0
"""Models are loaded and batches tried before the first step."""
LATE_S, LATE_GAPS = 900.0, 3
"""A checkpoint is late after both, the second in usual distances between two."""
LATE_UNKNOWN_S = 3600.0
"""Where nobody knows the usual distance."""
WINDOW_S, FEWEST_READINGS, WARMUP_S = 600.0, 5, 60.0
"""Use of a GPU: over the newest so many seconds, of so many readings at least, and not of the first minute."""
FULL, ENOUGH = 0.05, 20 * GIB
"""Less than such a part of the disk and fewer such bytes are free: it is nearly full."""
ROOM_FOR = 3
"""Checkpoints that must still fit."""


@dataclass(frozen=True)
class Alert:
    """Something to look at."""

    kind: str
    """`gpu`, `stall`, `number`, `disk`, `checkpoint`, `missing`."""
    item: str
    """Empty where it is of the machine."""
    text: str


def find_alerts(facts: Facts) -> list[Alert]:
    """All of them, in the order of the items."""
    return [*_disk_alerts(facts), *(alert for item in facts.items for alert in _item_alerts(item, facts))]


def _item_alerts(item: ItemFacts, facts: Facts) -> Iterator[Alert]:
    name = item.status.item
    kinds = {
        "number": _no_number(item),
        "stall": _stall(item, facts),
        "checkpoint": _late_checkpoint(item, facts),
        "gpu": " ".join(_idle_gpus(item)),
        "missing": " ".join([*item.problems, *_missing_readings(item)]),
    }
    return (Alert(kind, name, text) for kind, text in kinds.items() if text)


def _no_number(item: ItemFacts) -> str:
    losses = [(record["step"], record[LOSS]) for record in item.status.records if record.get(LOSS) is not None]
    broken = [(step, loss) for step, loss in losses if not math.isfinite(loss)]
    if not broken:
        return ""
    (step, loss), (last, newest) = broken[0], losses[-1]
    since = "and is a number again" if math.isfinite(newest) else f"and still is at step {last}"
    return f"{LOSS} became {loss} at step {step} {since}."


def _stall(item: ItemFacts, facts: Facts) -> str:
    now = item.status
    if not now.under_way or now.step >= facts.steps:
        return ""
    since_start = (facts.written - now.started).total_seconds() if now.started else 0.0
    if now.pace is None:
        return f"No step since the start {_ago(since_start)}." if since_start > FIRST_STEP_S else ""
    if now.quiet is None or now.quiet <= max(STALL_S, STALL_STEPS / now.pace):
        return ""
    return f"The last step was done {_ago(now.quiet)}; one took {1 / now.pace:.3g} s before."


def _late_checkpoint(item: ItemFacts, facts: Facts) -> str:
    now = item.status
    if not now.under_way:
        return ""
    moments = [moment for moment in (now.saved, now.started) if moment is not None]
    age = min(((facts.written - moment).total_seconds() for moment in moments), default=0.0)
    usual = facts.every / now.pace if isinstance(facts.every, int) and now.pace else now.save_gap
    limit = LATE_UNKNOWN_S if usual is None else max(LATE_S, LATE_GAPS * usual)
    expected = f"; usually after {_duration(usual)}" if usual else ""
    return f"No checkpoint for {_duration(age)}{expected}." if age > limit else ""


def _idle_gpus(item: ItemFacts) -> Iterator[str]:
    """Of the newest start, once it has run for a while: cards that are less busy than they should be."""
    starts = split_starts(item.readings)
    if not item.status.under_way or not starts:
        return
    begin, end = starts[-1][0].uptime + WARMUP_S, starts[-1][-1].uptime
    recent = [reading for reading in starts[-1] if reading.uptime >= max(begin, end - WINDOW_S)]
    for uuid, name in {card.uuid: card.name for reading in recent for card in reading.gpus}.items():
        busy = [card.busy for reading in recent for card in reading.gpus if card.uuid == uuid and card.busy is not None]
        if len(busy) >= FEWEST_READINGS and mean(busy) < LOW_PERCENT:
            span = _duration(recent[-1].uptime - recent[0].uptime)
            yield f"{name} {uuid[:12]} was busy {mean(busy):.0f} % of the last {span}, below {LOW_PERCENT} %."


def _missing_readings(item: ItemFacts) -> list[str]:
    newest = item.readings[-1] if item.readings and item.status.under_way else None
    return [f"{problem}." for problem in newest.problems] if newest else []


def _disk_alerts(facts: Facts) -> Iterator[Alert]:
    """Of the disk here, and of the hosts where something is under way."""
    under_way = [item for item in facts.items if item.status.under_way]
    needed = ROOM_FOR * sum(item.checkpoint_bytes or 0 for item in under_way)
    if facts.disk is not None and _is_full(facts.disk.free, facts.disk.total, needed):
        yield Alert("disk", "", f"{_room(facts.disk.free, facts.disk.total)} where the run folders are.")
    for item in under_way:
        newest = item.readings[-1] if item.readings else None
        if newest is not None and newest.host != facts.host and _is_full_there(newest):
            text = _room(newest.disk_free or 0, newest.disk_total or 0)
            yield Alert("disk", item.status.item, f"{text} on {newest.host}.")


def _is_full_there(reading: Reading) -> bool:
    known = reading.disk_free is not None and reading.disk_total is not None
    return known and _is_full(reading.disk_free or 0, reading.disk_total or 0, 0)


def _is_full(free: int, total: int, needed: int) -> bool:
    return free < max(min(FULL * total, ENOUGH), needed)


def _room(free: int, total: int) -> str:
    return f"Only {format_bytes(free)} of {format_bytes(total)} are free"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0.0, seconds))))


def _ago(seconds: float) -> str:
    return f"{_duration(seconds)} ago"
