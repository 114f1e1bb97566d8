"""Which process gets a signal, and where, from a variable such as PLANNED_SIGNAL=1:TERM@step. Imports no torch."""

from __future__ import annotations

import os
import signal

PLANNED_SIGNAL = "PLANNED_SIGNAL"


def send_planned_signal(place: str) -> None:
    """Send this process the signal that it shall get here."""
    asked = planned_signal()
    if asked and asked[2] == place and asked[0] == int(os.environ.get("RANK", "0")):
        os.kill(os.getpid(), asked[1])


def planned_signal() -> tuple[int, signal.Signals, str] | None:
    """Rank, signal, place. What torchrun starts again is left alone."""
    text = os.environ.get(PLANNED_SIGNAL)
    if not text or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return None
    rank, _, rest = text.partition(":")
    number, _, place = rest.partition("@")
    return int(rank), signal.Signals[f"SIG{number}"], place
