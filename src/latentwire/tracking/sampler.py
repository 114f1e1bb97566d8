"""The thread that looks at the machine while a run trains, for `latentwire dashboard`; it needs no MLflow.

It never stops or slows the training: whatever fails is missing from the readings and reported once.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil

from latentwire import environment, machine
from latentwire.journal_sample import read_last_step
from latentwire.nvml import Gpu, read_visible_gpus
from latentwire.tracking.readings import Reading, append_reading
from latentwire.tracking.runs import TrackedItem
from unbroken.errors import describe_error
from unbroken.filesystem import FileSystem
from unbroken.run_folder.events import uptime
from unbroken.run_folder.journal import JOURNAL_FILE
from unbroken.run_folder.lock import Holder, read_holder

STATE = Path("state")
PAUSE_S, LONGEST_PAUSE_S = 2.0, 30.0
"""Between two looks: short at the start, so that a run of a minute has a curve, and longer as the file grows."""
PAUSE_SHARE = 1 / 200
"""Of the time since the start."""
LAST_LOOK_S = 1.0
"""The end of a run waits at most so long for the last look."""

T = TypeVar("T")


def find_own_folder(root: Path, item: TrackedItem) -> Path | None:
    """The run folder of an item, if this process trains in it; one that trains elsewhere leaves it alone."""
    folder = root / STATE / f"{item.name}-{item.identity[:12]}"
    return folder if _is_own(folder) else None


def _is_own(folder: Path) -> bool:
    return read_holder(folder) == Holder(os.getpid(), socket.gethostname())


class Sampler(threading.Thread):
    """Adds to `readings.jsonl` of a run folder until it is closed."""

    def __init__(
        self,
        item: TrackedItem,
        folder: Path,
        report: Callable[[str], None],
        pause: float = PAUSE_S,
        files: FileSystem | None = None,
    ) -> None:
        super().__init__(name="readings", daemon=True)
        self._item, self._folder, self._report = item, folder, report
        self._pause, self._files = pause, files or FileSystem()
        runtime: Any = item.params.get("runtime", {})
        self._on_gpu = runtime.get("device") == "cuda"
        self._over = threading.Event()
        self._reported: set[str] = set()
        self._problems: list[str] = []
        """Of the next reading."""

    def run(self) -> None:
        """Look again and again, and once more at the end."""
        began = time.monotonic()
        self._read_cpu()  # psutil's first answer in a thread is always 0
        self._look(None)
        while not self._over.wait(self._next_pause(time.monotonic() - began)):
            self._look(self._read_cpu())
        self._look(self._read_cpu())

    def close(self) -> None:
        """Look a last time and end; whoever calls waits for that, but not long."""
        self._over.set()
        self.join(LAST_LOOK_S)

    def _next_pause(self, age: float) -> float:
        return min(LONGEST_PAUSE_S, max(self._pause, age * PAUSE_SHARE))

    def _look(self, cpu: float | None) -> None:
        if not _is_own(self._folder):  # another process may be at work there by now
            return
        memory = self._try("Memory is not measured", lambda: (machine.total_memory(), machine.available_memory()))
        disk = self._try("Disk space is not measured", lambda: shutil.disk_usage(self._folder))
        reading = Reading(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            uptime=round(uptime(), 3),
            host=socket.gethostname(),
            pid=os.getpid(),
            step=self._try("The newest step is not read", lambda: read_last_step(self._folder / JOURNAL_FILE)),
            cpu=cpu,
            memory_used=None if memory is None else memory[0] - memory[1],
            memory_total=None if memory is None else memory[0],
            disk_free=None if disk is None else disk.free,
            disk_total=None if disk is None else disk.total,
            gpus=self._try("The GPU is not measured", self._read_gpus) or (),
            problems=tuple(self._problems),
        )
        self._problems.clear()
        self._try("The readings are not written", lambda: append_reading(self._folder, reading, self._files))

    def _read_cpu(self) -> float | None:
        return self._try("The processor is not measured", psutil.cpu_percent)

    def _read_gpus(self) -> tuple[Gpu, ...]:
        if not self._on_gpu:
            return ()
        told = read_visible_gpus(environment.visible_devices(), environment.counts_by_bus())
        for problem in filter(None, (told.problem, *(card.problem for card in told.cards))):
            self._fail("The GPU is not measured", problem)
        return told.cards

    def _try(self, what: str, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except Exception as error:  # whatever it is, it must not reach the training
            self._fail(what, describe_error(error))
            return None

    def _fail(self, what: str, why: str) -> None:
        """Note it in this reading, and report it once."""
        self._problems.append(f"{what}: {why}")
        if what not in self._reported:
            self._reported.add(what)
            self._report(f"'{self._item.name}': {what} for now, and the training goes on without: {why}.")
