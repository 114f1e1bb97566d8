"""One run folder that is maltreated: starts of the reference training in forked processes, and what they left."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.support import toy_training
from unbroken import environment
from unbroken.filesystem import Buffer, FileSystem
from unbroken.preemption import SIGNALS, StopFlag
from unbroken.run_folder import events

T = TypeVar("T")
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES", "ESTALE", "EMFILE", "ENOMEM")
PATIENCE = 5  # clean starts that a run may need to reach its end


class Disk(FileSystem):
    """Counts every operation and lets a fault take the place of one of them. It does not wait for the real disk."""

    def __init__(self, operation: str = "", occurrence: int = 0, fault: str = "", lasting: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.target, self.fault, self.lasting = (operation, occurrence), fault, lasting
        self._struck = False

    def sync(self, _descriptor: int, path: Path) -> None:
        self.call("fsync", path, lambda: None)

    def forget(self, descriptor: int, path: Path) -> None:
        """Nothing."""

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if not self._due(name):
            return action()
        if self.fault == "kill-before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault in ERRORS:
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number), str(path))
        result = action()
        if self.fault == "kill-after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def write(self, descriptor: int, path: Path, data: Buffer) -> int:
        return super().write(descriptor, path, self._shaped(data))

    def write_at(self, descriptor: int, path: Path, data: Buffer, offset: int) -> int:
        return super().write_at(descriptor, path, self._shaped(data), offset)

    def read_into(self, descriptor: int, path: Path, target: memoryview) -> int:
        return self._flipped(super().read_into(descriptor, path, target), target)

    def read_at(self, descriptor: int, path: Path, target: memoryview, offset: int) -> int:
        return self._flipped(super().read_at(descriptor, path, target, offset), target)

    def _flipped(self, count: int, target: memoryview) -> int:
        if self.fault == "flip-on-read" and count and self._due("read", count_it=False):
            target[count // 2] ^= 4
        return count

    def _shaped(self, data: Buffer) -> Buffer:
        upcoming = self.counts["write"] + 1 == self.target[1] and self.target[0] == "write"
        if upcoming and self.fault in ("short-write", "torn-then-kill"):
            return memoryview(data)[: max(1, len(data) // 2)]
        if upcoming and self.fault == "flip-on-write" and len(data):
            damaged = bytearray(data)
            damaged[len(damaged) // 2] ^= 4
            return damaged
        return data

    def _due(self, name: str, count_it: bool = True) -> bool:
        if count_it:
            self.counts[name] += 1
        if self.lasting and self._struck and name in ("create", "write", "reserve", "mkdir", "rename", "update"):
            return True
        hit = (name, self.counts[name]) == self.target
        self._struck |= hit
        return hit


class TornDisk(Disk):
    """Half of a write reaches the disk, then the process is gone."""

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        result = super().call(name, path, action)
        if self.fault == "torn-then-kill" and (name, self.counts[name]) == self.target:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class Trial:
    """A run folder, its starts, and whether it came to the right end."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.root, self.chance = folder, chance
        self.run, self.target, self.log = folder / "run", folder / "export", folder / "log"
        folder.mkdir(parents=True)

    @property
    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, oldest first."""
        return sorted((self.run / "checkpoints").glob("step-*"))

    def begun(self) -> set[int]:
        """Restarts that came as far as their steps: the disk may have refused to keep their `start`."""
        recorded = events.read_events(self.run / events.EVENTS_FILE)
        return {event["restart"] for event in recorded if event["event"] != "end"}

    def steps(self) -> set[int]:
        """Steps that have something with the name of a checkpoint."""
        return {int(path.name[5:]) for path in self.checkpoints}

    def child(self, **options: Any) -> int:
        """Begin a start; returns its process id."""
        every = options.pop("every", None) or self.chance.choice([1, 3, 7, "auto"])
        background = self.chance.random() < 0.7
        # A fork would raise KeyboardInterrupt in the campaign; a process that begins ends by the signal.
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 2)
            os._exit(_train(self, {"every": every, "background": background, "lock_timeout": 2.0, **options}))
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        return pid

    def start(self, **options: Any) -> int:
        """One start, from begin to end; its exit status, negative for a signal."""
        return self.wait(self.child(**options))

    def wait(self, pid: int) -> int:
        """Exit status of a start."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def stopped(self, at: int | None = None) -> None:
        """Bring the run to a stop after a random step, with several checkpoints."""
        step = at or self.chance.randint(8, toy_training.STEPS - 2)
        status = self.start(every=self.chance.choice([1, 3]), hook=toy_training.stop_at(step), files=Disk())
        assert status == 75, f"a stop at step {step} ended with {status}"

    def begun_from(self) -> int:
        """The step that the newest start went on from."""
        starts = self.starts()
        return int(starts[-1]["step"]) if starts else 0

    def starts(self) -> list[dict[str, Any]]:
        """The starts that got as far as to go on from a step."""
        return [event for event in events.read_events(self.run / "events.jsonl") if event.get("event") == "start"]

    def content(self) -> dict[str, bytes]:
        """Every file of the run, but those that tell of a start: verdict and lock."""
        files = (path for path in sorted(self.run.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(self.run)): path.read_bytes()
            for path in files
            if path.name not in ("verdict.json", "lock")
        }


def _train(trial: Trial, options: dict[str, Any]) -> int:
    try:
        prepare = options.pop("prepare", None)
        if prepare:
            prepare()
        reports = toy_training.train(trial.run, trial.target, StopFlag.install(deadline=30), **options)
    except SystemExit as left:
        return int(left.code or 0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        return getattr(error, "exit_code", 70)
    os.write(2, ("\n".join(reports) + "\n").encode())
    return 0


def say_start_over() -> None:
    """The word that a run without a whole checkpoint may start afresh."""
    os.environ[environment.START_OVER] = "1"


def waited(seconds: float) -> None:
    """Let a start run for a moment."""
    time.sleep(seconds)
