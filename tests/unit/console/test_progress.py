"""Progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time

import pytest

from latentwire.console.periodic import INTERVAL_S
from latentwire.console.progress import progress_bar


def test_lines_come_while_one_step_is_slow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress_bar(10, "wire-r8-0", start=4, seconds=0.05) as bar:
        time.sleep(0.12)
        bar.advance(loss=0.51234)
        time.sleep(0.12)
    assert len(caplog.messages) >= 4
    assert caplog.messages[0] == "wire-r8-0: 4/10"
    last = caplog.messages[-1]
    assert re.fullmatch(r"wire-r8-0: 5/10, loss 0\.5123, [\d.]+ steps/s, \d+ s left", last)
    assert INTERVAL_S < 5


def test_the_rate_is_that_of_this_process(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress_bar(1000, "x", start=990) as bar:
        time.sleep(0.1)
        bar.advance(10)
    [line] = caplog.messages
    rate = float(re.search(r"([\d.]+) steps/s", line)[1])  # type: ignore[index]
    assert rate <= 100
    assert line.startswith("x: 1000/1000, ")
    assert line.endswith(" s")


def test_nothing_goes_on_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit), progress_bar(10, "x", seconds=0.02):
        raise SystemExit(75)
    said = len(caplog.messages)
    time.sleep(0.1)
    assert len(caplog.messages) == said == 1


CODE = """
import sys, time
from latentwire.console.logging import configure_logging
from latentwire.console.progress import progress_bar
configure_logging()
with progress_bar(3, "training", seconds=0.05) as bar:
    for _ in range(3):
        time.sleep(0.1)
        bar.advance(loss=0.25)
"""


def test_a_bar_on_a_terminal() -> None:
    """A real terminal: the bar is drawn, no lines are logged."""
    leader, follower = os.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=follower, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        os.close(follower)
        drawn = b""
        while chunk := _read(leader):
            drawn += chunk
        errors = process.stderr.read() if process.stderr else ""
    os.close(leader)
    assert process.returncode == 0, errors
    assert b"training" in drawn
    assert b"3/3" in drawn
    assert b"loss 0.25" in drawn
    assert "INFO" not in errors


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux's way to say that the other side has been closed
        return b""


def test_lines_are_flushed_through_a_pipe() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONUNBUFFERED", None)
    code = CODE.replace("range(3)", "range(1)").replace("bar.advance", "time.sleep(60); bar.advance")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()  # arrives while the process goes on
        process.kill()
    assert "INFO latentwire.console.progress: training: 0/3" in line
