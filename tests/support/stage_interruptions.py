"""Stop the real train stage at a step, and let it go on."""

from __future__ import annotations

import re
import signal

from tests.support.workspace import TRAIN, Workspace

STEPS = 30
"""Of a training of the tiny pipeline."""


def interrupt(place: Workspace, step: int, number: signal.Signals) -> str:
    """Start training, send a signal once a step is journalled, and check the exit code. Returns the output."""
    process = place.start_stage(*TRAIN)
    place.wait_for_step(process, step)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == (75 if number == signal.SIGTERM else -number), output
    return output


def finish(place: Workspace) -> int:
    """Train to the end and return the step from which it went on."""
    found = re.search(r"Going on from step (\d+)", place.stage(*TRAIN))
    return int(found[1]) if found else 0
