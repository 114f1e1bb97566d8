"""The real train stage: one result for any number of processes on one card, and for a run that was stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.gpu_check.place import Place
from benchmarks.gpu_check.rows import Row, yes_or_no
from latentwire.rehearsal.run import digest_files
from unbroken.preemption import EXIT_PREEMPTED
from unbroken.run_folder.journal import read_journal

KILLED = (1, -9, 137)
SAME = "the same bytes"


def compare_processes(place: Place) -> Iterator[Row]:
    """One, two and four processes."""
    whole = train_whole(place)
    for count in (2, 4):
        name = f"{count} processes on one {'card' if place.device == 'cuda' else 'processor'}"
        yield yes_or_no(name, SAME, train(place, f"processes-{count}", count) == whole, "other bytes than one process")


def compare_stops(place: Place) -> Iterator[Row]:
    """Stopped and killed at step 3, and resumed by another number of processes."""
    whole = train_whole(place)
    for signal, first, second, codes in (("TERM", 1, 2, (EXIT_PREEMPTED,)), ("KILL", 2, 1, KILLED)):
        folder = f"{signal.lower()}-{first}-{second}"
        place.stage("train", *options(place, folder), codes=codes, **processes(first), UNBROKEN_INTERRUPT=f"{signal}@3")
        same = train(place, folder, second) == whole
        yield yes_or_no(f"{signal} at step 3, {first} → {second} processes", SAME, same, "other bytes")


def run_bfloat16(place: Place) -> Iterator[Row]:
    """The frozen models in bfloat16, for the steps of one short training."""
    place.set(runtime={"dtype": "bfloat16"})
    train(place, "bfloat16", 1)
    records = read_journal(place.folder / "bfloat16/results" / place.item_name / "journal.jsonl")
    losses = [record["train/loss"] for record in records]
    seen = f"{len(losses)} steps, loss {losses[0]:.3f} → {losses[-1]:.3f}"
    yield Row("bfloat16", seen, "finite losses", all(map(math.isfinite, losses)))


def train_whole(place: Place) -> dict[str, str]:
    """What one process gives that nothing stops; trained once."""
    place.set()
    done = place.folder / "whole/results" / place.item_name
    return dict(digest_files(done)) if done.is_dir() else train(place, "whole", 1)


def train(place: Place, folder: str, count: int) -> dict[str, str]:
    """Train to the end with so many processes; SHA-256 of every exported file."""
    place.stage("train", *options(place, folder), **processes(count))
    return dict(digest_files(place.folder / folder / "results" / place.item_name))


def options(place: Place, folder: str) -> list[str]:
    """Of the train stage, with folders of its own."""
    return [*item_options(place), "--state", f"{folder}/state", "--results", f"{folder}/results"]


def item_options(place: Place) -> list[str]:
    """Of the train stage: which training it is."""
    return [word for pair in place.item.items() for word in pair]


def processes(count: int) -> dict[str, str]:
    """The variable that sets their number."""
    return {"LATENTWIRE_PROCESSES": str(count)}
