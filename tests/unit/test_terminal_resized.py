"""`latentwire watch` on a real terminal whose size changes while it runs, down to nothing and up again."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire import status
from latentwire.cli import run
from tests.support.toy_items import ITEM, STEPS, at, store
from unbroken.run_folder.journal import encode_record
from unbroken.run_folder.lock import FolderLock

ROOT = Path(__file__).parents[2]
SHORT = "0123456789ab"
SIZES = [(24, 80), (5, 20), (1, 1), (0, 0), (3, 200), (50, 120)]
"""Lines and columns."""


def resize(terminal: int, lines: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class Terminal:
    """What a program shows on it."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:  # the program; pytest's own streams are not those of the terminal
            code = 1
            try:
                os.environ["TERM"] = "xterm"
                import sys

                sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
                sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
                action()
            except SystemExit as stop:
                code = int(stop.code or 0)
            finally:
                os._exit(code)
        self.shown = ""

    def read_more(self) -> bool:
        """Whether it showed anything within a second; False at its end."""
        ready, _, _ = select.select([self.descriptor], [], [], 1.0)
        try:
            data = os.read(self.descriptor, 1 << 16) if ready else b""
        except OSError:  # the program has ended
            data = b""
        self.shown += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, words: str) -> None:
        """Until it shows something, whatever the colours."""
        begin, deadline = len(self.shown), time.monotonic() + 120
        while words not in re.sub(r"\x1b\[[\d;?]*\w", "", self.shown[begin:]):
            assert time.monotonic() < deadline, self.shown[-3000:]
            self.read_more()

    def end(self) -> int:
        """Its exit code."""
        while self.read_more():
            continue
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_watch_goes_on_whatever_the_size_of_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    folder = store(tmp_path / "state" / f"{ITEM}-{SHORT}", [at(900, "start", step=0)], 3)
    monkeypatch.setattr(status, "find_identities", lambda *_: ({ITEM: SHORT}, ""))
    lock = FolderLock(folder, 0)
    terminal = Terminal(lambda: run(["watch", ITEM, "--every", "0.1", "--root", str(tmp_path)]))
    resize(terminal.descriptor, *SIZES[0])
    terminal.wait_for("3/64")
    for step, size in enumerate(SIZES[1:], start=4):
        resize(terminal.descriptor, *size)
        with (folder / "journal.jsonl").open("ab") as file:
            file.write(encode_record(step, {"train/loss": 1.0}))
        before, deadline = len(terminal.shown), time.monotonic() + 120
        while len(terminal.shown) < before + 200:  # some frames
            assert time.monotonic() < deadline
            terminal.read_more()
    terminal.wait_for(f"{step}/64")
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(at(1, "end", verdict="finished", step=STEPS)) + "\n")
    lock.release()
    code = terminal.end()
    assert "Traceback" not in terminal.shown
    assert code == 0
    assert ITEM in terminal.shown[-1000:]
    assert "finished" in terminal.shown[-1000:]
