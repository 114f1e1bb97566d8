"""Logging is configured once and says when, how bad, who, and in which restart."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from latentwire.console.logging import configure_logging


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """The root logger is left as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level


def test_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(restart=3)
    logging.getLogger("some.where").info("it is %s", "done")
    captured = capsys.readouterr()
    assert re.fullmatch(r"\[restart 3\] \d{4}-\d\d-\d\d [\d:,]{12} INFO some\.where: it is done\n", captured.err)
    assert captured.out == ""


def test_other_ranks_speak_up_only_where_something_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level=logging.WARNING, rank=2)
    logging.getLogger("x").info("not at all")
    logging.getLogger("x").warning("out of memory")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("[rank 2] ")
    assert line.endswith("WARNING x: out of memory")


def test_configured_twice_says_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(restart=1)
    configure_logging(level=logging.WARNING)
    logging.getLogger("x").warning("once")
    logging.getLogger("x").info("not at all")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING x: once")
    assert "restart" not in line


def test_a_traceback_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "ValueError: why" in capsys.readouterr().err


def test_a_silent_process_says_that_it_is_at_work() -> None:
    program = (
        "import time\nfrom latentwire.console.logging import configure_logging, log_when_idle\n"
        "configure_logging()\nlog_when_idle('loading', seconds=0.2)\ntime.sleep(1.0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 3 <= done.stderr.count("loading is at work") <= 5
