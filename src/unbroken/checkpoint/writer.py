"""Saves in the background: the loop is blocked for the copy of its state, a thread does the rest.

Two buffers are enough for a loop that never waits for the disk: one is being written, the other holds the newest
state that waits for its turn. A still newer state takes the place of the waiting one, never of the one that is
being written, so that every save is finished or superseded and none is torn. No process is forked: after a fork
every page that the optimizer touches is copied in the loop's own time.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from unbroken.checkpoint.buffers import Buffer, BufferMemoryError
from unbroken.checkpoint.state import Snapshot
from unbroken.errors import UnbrokenError
from unbroken.run_folder.journal_writer import JournalPart


@dataclass(frozen=True)
class SaveRequest:
    """What is to be saved beside the state."""

    step: int
    journal: JournalPart | None
    pinned: bool
    verify: bool = True
    """Read it back before it counts; otherwise only the next load does."""


@dataclass(frozen=True)
class SaveResult:
    """What became of a request: `path` when it is durable, `error` when it failed, neither when superseded."""

    request: SaveRequest
    path: Path | None = None
    error: Exception | None = None
    blocked: float = 0.0
    """Seconds that the loop waited."""
    seconds: float = 0.0
    """Seconds from the start of the writing until it was durable and verified."""
    cpu: float = 0.0
    """Seconds of processor time that the writing took."""


@dataclass(frozen=True)
class _Job:
    request: SaveRequest
    snapshot: Snapshot
    buffer: Buffer
    blocked: float


_ALLOCATORS = re.compile(r"alloc|out of memory", re.IGNORECASE)
_LOOK_S = 1.0  # between two looks at whether the thread that one waits for lives


class Writer:
    """One thread that writes; the loop hands over states and asks what became of them.

    A buffer is in one place at a time: free, in the waiting job, or in the thread's hands (`_busy`). Where there is no
    memory for buffers, or no thread, every save is made in the caller's thread from then on.
    """

    def __init__(self, save: Callable[[SaveRequest, Snapshot], Path], background: bool) -> None:
        """`save` makes one state durable. Without `background` it runs in the caller's thread, without a copy."""
        self._save = save
        self._background = background
        self._condition = threading.Condition()
        """Held for every look at what follows, and notified of every change that somebody may wait for."""
        self._free = [Buffer(), Buffer()]
        self._unprepared: dict[Buffer, Mapping[str, torch.Tensor]] = {}
        """Free buffers to allocate, the one that is being allocated among them, and tensors like those to come."""
        self._waiting: _Job | None = None
        self._busy = self._closed = False
        self._results: list[SaveResult] = []
        self._thread: threading.Thread | None = None
        self._refusal: str | None = None
        """Why there is no saving in the background any more, until somebody has asked."""
        self._death: BaseException | None = None
        """What ended the thread before its time, until it was raised in the loop."""

    def prepare(self, live: Snapshot) -> None:
        """Let the thread allocate both buffers for states like this one."""
        if self._background:
            with self._condition:
                self._unprepared = {buffer: dict(live.tensors) for buffer in self._free}
                self._wake()

    def write(self, request: SaveRequest, live: Snapshot, begun: float) -> None:
        """Save a live state in the caller's thread; it waits anyway, and a copy would only make it wait longer.

        What waited for its turn is superseded.
        """
        with self._condition:
            self._supersede_waiting()
            self._stop_preparing()
            self._wait_for_thread(lambda: not self._busy)
        if self._background and any(tensor.is_cuda for tensor in live.tensors.values()):
            live = self._bring_from_gpus(live)
        result = self._attempt(request, live)
        # The loop has waited for all of it, so its processor time is not counted a second time.
        self._results.append(replace(result, blocked=time.monotonic() - begun, cpu=0.0))

    def submit(self, request: SaveRequest, live: Snapshot, begun: float) -> None:
        """Copy a live state and leave the rest to the thread. `begun`: when the loop began to wait, monotonic."""
        if not self._background:
            self.write(request, live, begun)
            return
        buffer = self._take_buffer()
        snapshot = None
        try:
            snapshot = buffer.fill(live)
        except BufferMemoryError as error:
            self._give_up_background(f"there is no memory for a copy of the state ({error})")
        finally:
            if snapshot is None:
                with self._condition:
                    self._free.append(buffer)
        if snapshot is None or not self._hand_over(_Job(request, snapshot, buffer, time.monotonic() - begun)):
            self.write(request, live, begun)

    def take_results(self) -> list[SaveResult]:
        """What has ended since the last call, in order.

        Raises:
            UnbrokenError: The thread has died; raised once, and nothing that it had is lost on the disk.
        """
        with self._condition:
            self._raise_death()
            results, self._results = self._results, []
            return results

    def take_refusal(self) -> str | None:
        """Why saves are no longer made in the background, told once."""
        with self._condition:
            refusal, self._refusal = self._refusal, None
            return refusal

    def drain(self) -> list[SaveResult]:
        """Wait until everything that was submitted is durable, superseded or failed; then as `take_results`.

        Nothing is raised: that the thread has died is only told, since whoever drains saves what is missing.
        """
        with self._condition:
            self._stop_preparing()  # a caller that waits has no time for the buffers of later saves
            self._wait_for_thread(lambda: self._waiting is None and not self._busy)
            if self._death:
                self._refusal, self._death = f"the thread for it {_describe(self._death)}", None
        return self.take_results()

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        with self._condition:
            self._closed = True
            self._stop_preparing()
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _hand_over(self, job: _Job) -> bool:
        """Let the thread do it; False if there is none, and its buffer is free again."""
        with self._condition:
            self._supersede_waiting()
            self._waiting = job
            self._wake()
            if not self._background:
                self._waiting = None
                self._free.append(job.buffer)
            return self._background

    def _wake(self) -> None:
        if self._thread is None and self._background:
            # A daemon: an interpreter that is shut down in the middle leaves a temporary folder, nothing torn.
            thread = threading.Thread(target=self._work, name="unbroken-writer", daemon=True)
            try:
                thread.start()
                self._thread = thread
            except RuntimeError as error:  # such as a limit of the number of processes
                self._give_up_background(f"no thread could be started ({error})")
        self._condition.notify_all()

    def _give_up_background(self, refusal: str) -> None:
        """Save in the caller's thread from now on, and leave the memory of the buffers to the training."""
        with self._condition:
            if self._background:
                self._background, self._refusal = False, refusal
            self._stop_preparing()
            for buffer in self._free:
                buffer.release()

    def _bring_from_gpus(self, live: Snapshot) -> Snapshot:
        # Both buffers are free now, and their page-locked memory is the fastest way out of a GPU.
        try:
            copied = self._free[0].fill(live)
            self._free[0].wait()
        except BufferMemoryError as error:
            self._give_up_background(f"there is no memory for a copy of the state ({error})")
            return live
        return copied

    def _wait_for_thread(self, is_done: Callable[[], bool]) -> None:
        """Wait, but never for a thread that is gone: killed by what it raised, or left behind by a fork."""
        while not self._condition.wait_for(is_done, _LOOK_S):
            if self._thread is None or not self._thread.is_alive():
                self._bury_thread(UnbrokenError("it did not come back"))

    def _bury_thread(self, error: BaseException) -> None:
        """Leave everything as if nothing had been handed over, and save without the thread from now on."""
        self._supersede_waiting()
        self._busy = self._background = False
        self._death = error
        self._condition.notify_all()

    def _raise_death(self) -> None:
        error, self._death = self._death, None
        if error is not None:
            raise UnbrokenError(
                f"The thread that writes checkpoints {_describe(error)}. Checkpoints that are durable are intact. "
                "Next: run the same command again; if it comes back, with `Run(background=False)`."
            ) from error

    def _take_buffer(self) -> Buffer:
        with self._condition:
            if not self._free:
                self._supersede_waiting()
            # A thread that died has taken its buffer with it.
            buffer = self._free.pop() if self._free else Buffer()
            self._unprepared.pop(buffer, None)  # it is filled at once
            return buffer

    def _supersede_waiting(self) -> None:
        job, self._waiting = self._waiting, None
        if job is not None:
            self._results.append(SaveResult(job.request, blocked=job.blocked))
            self._free.append(job.buffer)

    def _stop_preparing(self) -> None:
        self._unprepared = {}

    def _work(self) -> None:
        try:
            while task := self._next_task():
                task()
        except BaseException as error:  # raised again in the loop, which would otherwise wait for ever
            with self._condition:
                self._bury_thread(error)

    def _next_task(self) -> Callable[[], None] | None:
        """Wait for something to do: a save first, then a buffer to prepare. None: the writer is closed."""
        with self._condition:
            self._busy = False
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._waiting or self._unprepared or self._closed)
            job, self._waiting = self._waiting, None
            buffer = next(iter(self._unprepared), None)
            self._busy = job is not None or buffer is not None
            if job is not None:
                return partial(self._save_copy, job)
            if buffer is not None:
                self._free.remove(buffer)
                return partial(self._prepare_buffer, buffer)
            return None

    def _save_copy(self, job: _Job) -> None:
        result = self._attempt(job.request, job.snapshot, job.buffer)
        if _lacks_memory(result.error):
            self._give_up_background(f"the memory for it is missing ({result.error})")
            result = replace(result, error=None)  # the next save has the memory of the buffers
        with self._condition:
            self._results.append(replace(result, blocked=job.blocked))
            self._free.append(job.buffer)

    def _prepare_buffer(self, buffer: Buffer) -> None:
        try:
            buffer.prepare(self._unprepared.get(buffer, {}), lambda: buffer in self._unprepared)
        except BufferMemoryError as error:
            self._give_up_background(f"there is no memory for a copy of the state ({error})")
            buffer.release()
        with self._condition:
            self._unprepared.pop(buffer, None)
            self._free.append(buffer)

    def _attempt(self, request: SaveRequest, snapshot: Snapshot, buffer: Buffer | None = None) -> SaveResult:
        begun, cpu = time.monotonic(), time.thread_time()
        path: Path | None = None
        failure: Exception | None = None
        try:
            if buffer:
                buffer.wait()
            path = self._save(request, snapshot)
        except Exception as error:  # raised again, or reported, in the loop's thread
            failure = error
        return SaveResult(request, path, failure, 0.0, time.monotonic() - begun, time.thread_time() - cpu)


def _describe(death: BaseException) -> str:
    return f"ended with {type(death).__name__}: {death}".rstrip(": ")


def _lacks_memory(error: Exception | None) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_ALLOCATORS.search(str(error))))
