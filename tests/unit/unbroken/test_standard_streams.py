"""A program that is started without stdout or stderr, or whose reader leaves, does its work all the same."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from unbroken.standard_streams import is_terminal, print_sentence

CLOSED = "exec >&- 2>&-; "

SILENT = """
import os, time
from pathlib import Path
from unbroken.preemption import StopFlag
stop = StopFlag.install()
os.write(2, b"a library's warning\\n")  # 10, the newline, is the number of SIGUSR1
time.sleep(0.3)
assert stop.signal is None, stop.signal
"""

REFUSED = """
from unbroken.errors import IdentityError
from unbroken.preemption import StopFlag
StopFlag.install()
raise IdentityError("another identity")
"""

PRINTING = """
import sys
from unbroken.standard_streams import open_standard_streams
open_standard_streams()
for k in range(20000):
    print("▁█ 60 → 90 … 中 é")
print("done", file=sys.stderr)
sys.exit(7)
"""


def start(code: str, shell: str = "", after: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a shell that closes or redirects streams; bytes that are no UTF-8 are kept apart."""
    command = f'{shell}"$0" -c "$1"{after}'
    own = {**os.environ, "PYTHONPATH": "src", **variables}
    words = ["bash", "-c", command, sys.executable, code]
    return subprocess.run(words, env=own, capture_output=True, encoding="utf-8", errors="replace", timeout=60)


def test_what_libraries_print_is_no_signal_where_stderr_is_closed() -> None:
    assert start(SILENT, CLOSED).returncode == 0


@pytest.mark.parametrize(
    ("shell", "after"),
    [(CLOSED, ""), ("exec 2>&-; ", ""), ("", " 2> >(exec true; sleep 0)"), ("exec 2>/dev/full; ", "")],
)
def test_an_error_that_nobody_reads_keeps_its_exit_code(shell: str, after: str) -> None:
    done = start(REFUSED, f"{shell}sleep 0.1; ", after)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("shell", [CLOSED, "exec >&-; ", "exec > >(head -1 >/dev/null); ", "exec >/dev/full; "])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_goes_nowhere_is_no_failure(shell: str, unbuffered: str) -> None:
    done = start(PRINTING, shell, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 7
    assert done.stderr == ("" if shell == CLOSED else "done\n")


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("utf-8", "▁█ 60 → 90 … 中 é"),
        ("latin-1", "_# 60 -> 90 ... \\u4e2d \ufffd"),
        ("ascii", "_# 60 -> 90 ... \\u4e2d \\xe9"),
        ("idna", "▁█ 60 → 90 … 中 é"),  # these codecs have no plain letters
        ("undefined", "▁█ 60 → 90 … 中 é"),
    ],
)
def test_characters_that_a_stream_lacks(encoding: str, line: str) -> None:
    done = start(PRINTING, PYTHONIOENCODING=encoding)
    assert (done.returncode, set(done.stdout.splitlines())) == (7, {line})
    assert len(done.stdout.splitlines()) == 20000


@pytest.mark.parametrize("encoding", ["idna", "undefined", "latin-1"])
def test_an_error_is_a_sentence_in_every_encoding(encoding: str) -> None:
    done = start(REFUSED, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (2, "error: another identity\n")


def test_what_is_written_to_a_pipe_that_does_not_block_arrives_whole() -> None:
    wanted = "import os; os.set_blocking(1, False)" + PRINTING
    done = start(wanted, after=" | (sleep 1; cat); exit ${PIPESTATUS[0]}")
    assert (done.returncode, len(done.stdout.splitlines())) == (7, 20000)


def test_a_terminal_is_one_that_moves_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    _leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        assert is_terminal(terminal)
        monkeypatch.setenv("TERM", "dumb")
        assert not is_terminal(terminal)
        monkeypatch.setenv("TERM", "xterm")
    assert not is_terminal(terminal)  # closed
    assert not is_terminal(None)
    assert not is_terminal(io.StringIO())


def test_without_stderr_a_sentence_is_not_taken_for_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    print_sentence("an error")
    assert capsys.readouterr().out == ""
    with (tmp_path / "log").open("w", encoding="ascii") as log:
        monkeypatch.setattr(sys, "stderr", log)
        print_sentence("60 → 90")
    print_sentence("closed")
    assert (tmp_path / "log").read_text() == "60 -> 90\n"


@pytest.mark.long
def test_prove_prints_to_whoever_is_there(tmp_path: Path) -> None:
    words = f'"$0" -m unbroken prove --work {tmp_path}/w --at nonsense -- true'
    for shell in (CLOSED, "exec 2> >(exec true); sleep 0.2; "):
        done = subprocess.run(
            ["bash", "-c", shell + words, sys.executable], env={**os.environ, "PYTHONPATH": "src"}, timeout=60
        )
        assert done.returncode == 2


SENTENCE = "from unbroken.standard_streams import print_sentence\nprint_sentence('a')\nprint_sentence('b')"
LINE = "import sys\nfrom unbroken.standard_streams import print_line\nprint_line('a', sys.stdout)"
PROGRAM_OF_OURS = (
    "import sys\nfrom unbroken.standard_streams import open_standard_streams\nopen_standard_streams()\n"
    "print('a', 1, 'b')\nprint('c', flush=True)\nprint('d', file=sys.stderr)\nprint('no end yet', end='', flush=True)"
)
BUG = "from unbroken.preemption import StopFlag\nStopFlag.install()\ndef fail():\n    1 / 0\nfail()"
ERROR = "from unbroken.preemption import StopFlag\nfrom unbroken.errors import LockedError\nStopFlag.install()\n"
ERROR += "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise LockedError('a')"
LOG = "from unbroken.errors import log_sentence\nlog_sentence('a')"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (SENTENCE, ["a\n", "b\n"]),
        (LINE, ["a\n"]),
        (PROGRAM_OF_OURS, ["a 1 b\n", "c\n", "d\n", "no end yet"]),
        (LOG, ["a\n"]),
    ],
)
def test_a_line_and_its_end_are_one_write(code: str, wanted: list[str]) -> None:
    """Several ranks share a log, and with PYTHONUNBUFFERED each write goes out at once."""
    assert writes_of(code) == wanted


@pytest.mark.parametrize(("code", "last"), [(BUG, "ZeroDivisionError: division by zero\n"), (ERROR, "error: a\n")])
def test_no_write_ends_inside_a_line_of_an_error(code: str, last: str) -> None:
    writes = writes_of(code)
    assert "".join(writes).startswith("Traceback (most recent call last):\n")
    assert "".join(writes).endswith(last)
    assert all(write.endswith("\n") for write in writes), writes


def writes_of(code: str) -> list[str]:
    """Each write of an unbuffered program to stdout or stderr by itself: a socket of packets keeps them apart."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own = {**os.environ, "PYTHONPATH": "src", "PYTHONUNBUFFERED": "1"}
    with reader, writer:
        subprocess.run([sys.executable, "-c", code], env=own, stdout=writer, stderr=writer, timeout=60, check=False)
        reader.setblocking(False)
        writes = list[str]()
        with contextlib.suppress(BlockingIOError):
            while True:
                writes.append(reader.recv(1 << 16).decode())
    return [write for write in writes if write]
