"""The processes of one training that one machine starts, and how they end. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbroken.errors import log_sentence
from unbroken.preemption import EXIT_PREEMPTED, SIGNALS

LOOPBACK = "127.0.0.1"
POLL_S = 0.02
_GRACE_S = 10.0  # ranks whose peer is gone notice it themselves, and say what they waited for
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class RankRange:
    """The ranks that one machine starts: `count` of `total`, from `first`."""

    first: int
    count: int
    total: int
    address: str
    """Host of rank 0."""
    port: int

    @classmethod
    def on_one_machine(cls, count: int) -> RankRange:
        """All of them, on this machine alone."""
        return cls(0, count, count, LOOPBACK, find_free_port(LOOPBACK))

    def variables(self, local_rank: int) -> dict[str, str]:
        """What torchrun would set for one of these ranks, and a single thread."""
        loopback = {"GLOO_SOCKET_IFNAME": "lo"} if self.address == LOOPBACK else {}
        return {
            "RANK": str(self.first + local_rank),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(self.total),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
            **loopback,
        }


def find_free_port(address: str) -> int:
    """A port of this address that is not in use now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class LocalRanks:
    """Running copies of a command. Call `poll` until `running` is False."""

    def __init__(
        self,
        ranks: RankRange,
        command: Sequence[str],
        report: Callable[[str], None] = log_sentence,
        folder: Path | None = None,
    ) -> None:
        """Start them. A signal that reaches one before it catches signals waits until it does.

        Args:
            ranks: Which of the training's ranks these are.
            command: What each of them runs.
            report: Receives a sentence when one was killed.
            folder: Where they start; None is this process's own.

        Raises:
            OSError: The command or the folder does not exist.
        """
        self._report = report
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopped = False
        self._failed_at: float | None = None
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            for local in range(ranks.count):
                self._running[ranks.first + local] = _start_process(command, ranks.variables(local), folder)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)

    @property
    def running(self) -> bool:
        """Is any of them still running?"""
        return bool(self._running)

    def poll(self) -> list[int]:
        """Exit codes of those that ended since the last call, a signal's number negated; kills those that overstay."""
        codes = self._ended()
        if any(code not in (0, EXIT_PREEMPTED) for code in codes):
            self.fail()
        if self._failed_at is not None and time.monotonic() - self._failed_at > _GRACE_S:
            self._send(signal.SIGKILL)
        return codes

    def stop(self) -> None:
        """Ask them to stop; only the first call has an effect."""
        if not self._stopped:
            self._stopped = True
            self._send(signal.SIGTERM)

    def fail(self) -> None:
        """A rank of the training is lost: from now on the others have ten seconds to end."""
        if self._failed_at is None:
            self._failed_at = time.monotonic()

    def _ended(self) -> list[int]:
        polled = {rank: process.poll() for rank, process in self._running.items()}
        codes = {rank: self._as_intended(code) for rank, code in polled.items() if code is not None}
        for rank, code in codes.items():
            del self._running[rank]
            if code < 0:
                self._report(
                    f"Rank {rank} was killed by {signal.Signals(-code).name}; checkpoints are intact. Next: look "
                    f"for who sent it (`dmesg` tells of too little memory), then run the same command again."
                )
        return sorted(codes.values())  # a rank that was killed comes before those that lost it

    def _as_intended(self, code: int) -> int:
        # A rank may die of the TERM that asked it to stop: Python resets its handlers while it shuts down.
        return EXIT_PREEMPTED if self._stopped and code == -signal.SIGTERM else code

    def _send(self, number: signal.Signals) -> None:
        for process in self._running.values():
            process.send_signal(number)


def combine_exit_codes(codes: Sequence[int]) -> int:
    """One exit code for many: that of the first that failed, 1 if it was killed; else 75 if there is one; else 0."""
    for code in codes:
        if code not in (0, EXIT_PREEMPTED):
            return code if code > 0 else 1
    return EXIT_PREEMPTED if EXIT_PREEMPTED in codes else 0


def _start_process(
    command: Sequence[str], variables: Mapping[str, str], folder: Path | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
