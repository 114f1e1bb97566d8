"""What a stage sets for its whole process, so that a test that runs one in this process can put it back."""

from __future__ import annotations

import signal
from typing import Any, NamedTuple

import torch

from unbroken.preemption import SIGNALS, StopFlag


class ProcessState(NamedTuple):
    """The settings of torch and the handlers of signals at one moment."""

    device: torch.device
    dtype: torch.dtype
    deterministic: bool
    stop: StopFlag | None
    handlers: dict[int, Any]

    @classmethod
    def read(cls) -> ProcessState:
        """As it is now."""
        return cls(
            torch.get_default_device(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            StopFlag._installed,
            {number: signal.getsignal(number) for number in SIGNALS},
        )

    def put_back(self) -> None:
        """Make it so again."""
        # Not by name for the CPU: a default that is set stands in the way of every call.
        torch.set_default_device(None if self.device.type == "cpu" else self.device)
        torch.set_default_dtype(self.dtype)
        torch.use_deterministic_algorithms(self.deterministic)
        if StopFlag._installed is not self.stop:
            signal.set_wakeup_fd(-1)
            for number, handler in self.handlers.items():
                signal.signal(number, handler)
            StopFlag._installed = self.stop
