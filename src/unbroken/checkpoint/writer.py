"""Saves in the background: the loop is blocked for the copy of its state, a thread does the rest.

Two buffers are enough for a loop that never waits for the disk: one is being written, the other holds the newest
state that waits for its turn. A still newer state takes the place of the waiting one, never of the one that is
being written, so that every save is finished or superseded and none is torn. No process is forked: after a fork
every page that the optimizer touches is copied in the loop's own time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from unbroken.checkpoint.buffers import Buffer
from unbroken.checkpoint.state import Snapshot


@dataclass(frozen=True)
class SaveRequest:
    """What is to be saved beside the state."""

    step: int
    journal: bytes
    pinned: bool
    verify: bool = True
    """Read it back before it counts; without, only the next load does."""


@dataclass(frozen=True)
class SaveResult:
    """What became of an order: `path` when it is durable, `error` when it failed, neither when superseded."""

    order: SaveRequest
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
    order: SaveRequest
    snapshot: Snapshot
    buffer: Buffer | None
    blocked: float


class Writer:
    """One thread that writes; the loop hands over states and asks what became of them."""

    def __init__(self, save: Callable[[SaveRequest, Snapshot], Path], background: bool) -> None:
        """`save` makes one state durable. Without `background` it runs in the caller's thread, without a copy."""
        self._save = save
        self._background = background
        self._news = threading.Condition()
        self._free = [Buffer(), Buffer()]
        self._like: dict[str, torch.Tensor] = {}
        self._bare: list[Buffer] = []
        self._waiting: _Job | None = None
        self._busy = self._closed = self._hurried = False
        self._ended: list[SaveResult] = []
        self._thread: threading.Thread | None = None

    def prepare(self, live: Snapshot) -> None:
        """Let the thread allocate both buffers for states like this one."""
        if self._background:
            with self._news:
                self._like, self._bare, self._hurried = dict(live.tensors), list(self._free), False
                self._wake()

    def write(self, order: SaveRequest, live: Snapshot, begun: float) -> None:
        """Save a live state in the caller's thread; it waits anyway, and a copy would only make it wait longer.

        What waited for its turn is superseded.
        """
        with self._news:
            self._supersede()
            self._bare, self._hurried = [], True
            self._news.wait_for(lambda: not self._busy)
        if self._background and any(tensor.is_cuda for tensor in live.tensors.values()):
            # Both buffers are free now, and their page-locked memory is the fastest way out of a GPU.
            live = self._free[0].fill(live)
            self._free[0].wait()
        outcome = self._written(_Job(order, live, None, 0.0))
        blocked = time.monotonic() - begun
        self._ended.append(SaveResult(order, outcome.path, outcome.error, blocked, outcome.seconds))

    def submit(self, order: SaveRequest, live: Snapshot, begun: float) -> None:
        """Copy a live state and leave the rest to the thread. `begun`: when the loop began to wait, monotonic."""
        if not self._background:
            self.write(order, live, begun)
            return
        buffer = self._take()
        try:
            snapshot = buffer.fill(live)
        except BaseException:
            with self._news:
                self._free.append(buffer)
            raise
        with self._news:
            self._supersede()
            self._waiting = _Job(order, snapshot, buffer, time.monotonic() - begun)
            self._wake()

    def outcomes(self) -> list[SaveResult]:
        """What ended since this was asked last, in order."""
        with self._news:
            ended, self._ended = self._ended, []
            return ended

    def finish(self) -> list[SaveResult]:
        """Wait until everything that was submitted is durable, superseded or failed."""
        with self._news:
            self._bare, self._hurried = [], True  # whoever waits now has no time for buffers of later saves
            self._news.wait_for(lambda: self._waiting is None and not self._busy)
        return self.outcomes()

    def close(self) -> None:
        """Finish, then end the thread."""
        with self._news:
            self._closed = self._hurried = True
            self._bare = []
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:
            # A daemon: an interpreter that is shut down in the middle leaves a temporary folder, nothing torn.
            self._thread = threading.Thread(target=self._work, name="unbroken-writer", daemon=True)
            self._thread.start()
        self._news.notify_all()

    def _take(self) -> Buffer:
        with self._news:
            if not self._free:
                self._supersede()
            return self._free.pop()

    def _supersede(self) -> None:
        job, self._waiting = self._waiting, None
        if job is not None and job.buffer is not None:
            self._ended.append(SaveResult(job.order, blocked=job.blocked))
            self._free.append(job.buffer)

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._bare or self._closed)
                job, self._waiting = self._waiting, None
                if job is None and not self._bare:
                    return
                self._busy = True
                buffer = job.buffer if job else self._next_bare()
            outcome = self._written(job) if job else None
            if buffer and not job:
                buffer.prepare(self._like, lambda: not self._hurried)
            with self._news:
                if outcome:
                    self._ended.append(outcome)
                if buffer:
                    self._free.append(buffer)
                self._busy = False
                if not self._bare:
                    self._like = {}  # the loop's tensors are not kept alive by us
                self._news.notify_all()

    def _next_bare(self) -> Buffer | None:
        buffer = self._bare.pop()
        if buffer not in self._free:
            return None  # the loop was faster and fills it just now
        self._free.remove(buffer)
        return buffer

    def _written(self, job: _Job) -> SaveResult:
        begun, cpu = time.monotonic(), time.thread_time()
        path: Path | None = None
        failure: Exception | None = None
        try:
            if job.buffer:
                job.buffer.wait()
            path = self._save(job.order, job.snapshot)
        except Exception as error:  # raised again, or reported, in the loop's thread
            failure = error
        return SaveResult(job.order, path, failure, job.blocked, time.monotonic() - begun, time.thread_time() - cpu)
