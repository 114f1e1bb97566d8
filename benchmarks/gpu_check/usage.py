"""How busy the real train stage keeps the card, and whether NVML gives what the dashboard shows."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence

from benchmarks.gpu_check.place import OutOfTimeError, Place, end_group
from benchmarks.gpu_check.rows import Row, not_measured
from benchmarks.gpu_check.trainings import item_options
from latentwire.errors import LatentWireError
from latentwire.nvml import Gpu
from latentwire.tracking.readings import Reading, read_readings
from unbroken.preemption import EXIT_PREEMPTED

BUSY, READINGS = "card busy while the train stage trains", "NVML readings of the dashboard"
GOAL, FLOOR = 90.0, 70.0
"""Percent."""
FEWEST = 5
"""Readings, for a median that means something."""
SHOWN = ("busy", "used", "total", "power", "temperature")
STEPS = 1_000_000


def watch_training(place: Place, seconds: float) -> Iterator[Row]:
    """Train without an end in sight, with the user's own validations and checkpoints, and stop after some seconds."""
    place.set(train={"steps": STEPS, "validate": {"every": 16, "examples": 16}, "checkpoint": {"every": 16, "keep": 3}})
    # In the usual folders: the thread that reads NVML leaves runs elsewhere alone.
    child = place.start(["latentwire.stages.train", *item_options(place)])
    try:
        _wait_for_readings(place, child, seconds)
        child.terminate()
        printed, _ = child.communicate(timeout=60)
    finally:
        end_group(child)
    if child.returncode != EXIT_PREEMPTED:
        raise LatentWireError(f"train ended with {child.returncode}, expected {EXIT_PREEMPTED}: {printed[-500:]}")
    yield from judge(training_readings(place), place.device == "cuda")


def training_readings(place: Place) -> list[Reading]:
    """Those after the first step."""
    folders = sorted((place.folder / "state").glob(f"{place.item_name}-*"))
    return [reading for folder in folders for reading in read_readings(folder) if reading.step]


def _wait_for_readings(place: Place, child: subprocess.Popen[str], seconds: float) -> None:
    """Until a reading is so many seconds younger than the first one of a step."""
    while child.poll() is None:
        readings = training_readings(place)
        if readings and readings[-1].uptime - readings[0].uptime >= seconds:
            return
        if time.monotonic() > place.until:
            raise OutOfTimeError("the minutes were over while the train stage was watched")
        time.sleep(0.2)


def judge(readings: Sequence[Reading], on_gpu: bool) -> Iterator[Row]:
    """The rows of some readings, the last of which may be of the end."""
    if not on_gpu:
        for name in (BUSY, READINGS):
            yield not_measured(name, "no GPU")
        return
    cards = [card for reading in readings[:-1] for card in reading.gpus]
    yield judge_busy([card.busy for card in cards if card.busy is not None])
    yield judge_readings(cards, [problem for reading in readings for problem in reading.problems])


def judge_busy(percents: Sequence[float]) -> Row:
    """The median against goal and floor."""
    if len(percents) < FEWEST:
        return not_measured(BUSY, f"{len(percents)} readings, expected {FEWEST} or more")
    middle = statistics.median(percents)
    seen = f"median {middle:.0f} % of {len(percents)} readings ({min(percents):.0f} to {max(percents):.0f})"
    if middle <= GOAL:
        seen += f", {'under' if middle < FLOOR else 'over'} the floor of {FLOOR:.0f} %"
    return Row(BUSY, seen, f"> {GOAL:.0f} %", middle > GOAL)


def judge_readings(cards: Sequence[Gpu], problems: Sequence[str]) -> Row:
    """Whether each reading was there each time."""
    missing = {name: sum(getattr(card, name) is None for card in cards) for name in SHOWN}
    lacks = [f"{name} {count} of {len(cards)} times" for name, count in missing.items() if count]
    if not cards or lacks or problems:
        seen = "; ".join(["none" if not cards else "", *lacks, *dict.fromkeys(problems)]).strip("; ")
        return Row(READINGS, f"missing: {seen}", "all of them", False)
    power = statistics.median(card.power or 0.0 for card in cards)
    heat = max(card.temperature or 0 for card in cards)
    return Row(READINGS, f"{cards[-1]}, {power:.0f} W, {heat} °C at most", "all of them", True)
