"""What a program reads from and prints to: nothing may be there, nobody may read it, and it may lack characters.

A program is started with closed streams by some daemons and by `>&-`; its reader leaves in `| head -1`; its terminal
goes when a connection breaks. None of that is a reason to lose work, or to end with another exit code.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from typing import Any, TextIO, cast

from unbroken import environment

_NOBODY_READS = (errno.EPIPE, errno.EIO, errno.EBADF)
"""The reader has left, the terminal is gone, nothing is open there."""


_READABLE = {"…": "...", "→": "->", "×": "x", "−": "-", "–": "-", "“": '"', "”": '"', "’": "'", "━": "=", "─": "-"}
_READABLE |= dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True))
READABLE = "unbroken.readable"
"""How a stream writes characters that it lacks: what we print ourselves by its likeness, others as `\\u4e2d`."""


def _replace_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError) or error.object[error.start] not in _READABLE:
        return codecs.backslashreplace_errors(error)
    return _READABLE[error.object[error.start]], error.start + 1


codecs.register_error(READABLE, _replace_characters)


def occupy_standard_files() -> None:
    """Open the null device where the process was started without standard input, output or error.

    The next file or pipe that is opened would take such a number, and everything that libraries print would go there:
    into a checkpoint, or as signals to the watchdog.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one: those below it are open by now


def open_standard_streams() -> None:
    """Make stdout and stderr fit to be printed to, however the process was started; the first act of a program of ours.

    Afterwards neither is None, no character is refused, and what nobody can receive is dropped. What was unbuffered
    is written line by line: a `print` is then one write, and the lines of ranks that share a log stay apart.
    Streams that were replaced on purpose, as by a test, stay as they are.
    """
    occupy_standard_files()
    sys.stdout = _open_stream(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _open_stream(sys.stderr, sys.__stderr__, 2)


def output_problem() -> OSError | None:
    """Why a part of what was printed to stdout is lost; None where all of it was written or nobody reads it."""
    stream = _OUTPUTS.get(1)
    return stream.problem if stream is not None and _is_stdout(stream.text) else None


def has_reader() -> bool:
    """Whether what is printed to stdout still goes anywhere."""
    stream = _OUTPUTS.get(1)
    return stream is None or not _is_stdout(stream.text) or not stream.lost


def _is_stdout(text: TextIO) -> bool:
    """Whether what is printed goes there: colorama, which DVC imports, puts an object of its own around a stream."""
    return getattr(sys.stdout, "buffer", None) is text.buffer


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal whose cursor can be moved; not where it is None, closed, or TERM says `dumb`."""
    if stream is None or stream.closed or environment.terminal_kind() in ("dumb", "unknown"):
        return False
    return stream.isatty()


def print_sentence(sentence: str) -> None:
    """Print to stderr; where nobody can receive it, the exit code alone tells what happened."""
    print_line(sentence, sys.stderr)


def print_line(line: str, stream: TextIO | None) -> None:
    """Print to a stream, if somebody can receive it: the line and its end in one write, since ranks share a log.

    `print` writes the end by itself, and with PYTHONUNBUFFERED both go out at once: two ranks' lines become one.
    """
    if stream is None:
        return  # print would take stdout for it
    try:
        print(f"{line}\n", end="", file=stream, flush=True)
    except UnicodeError:
        _print_readable(line, stream)
    except (OSError, ValueError):  # nobody reads it; it is closed
        return


def _print_readable(line: str, stream: TextIO) -> None:
    try:
        print(f"{line.encode('ascii', READABLE).decode()}\n", end="", file=stream, flush=True)
    except UnicodeError:  # its codec has no plain letters either
        with contextlib.suppress(OSError):
            os.write(stream.fileno(), f"{line}\n".encode())


class _Output(io.FileIO):
    """A standard stream; once something cannot be written, everything after it is dropped."""

    def __init__(self, number: int, original: io.TextIOWrapper) -> None:
        super().__init__(number, "w", closefd=False)
        self.problem: OSError | None = None
        self.lost = False
        at_once = original.write_through
        self.text = io.TextIOWrapper(
            cast("io.BufferedWriter", self) if at_once else io.BufferedWriter(self),
            encoding=_choose_encoding(original.encoding),
            errors=READABLE,
            line_buffering=original.line_buffering or at_once,
        )

    def write(self, data: Any, /) -> int:
        """Write all of what can be written; a stream that is full now is waited for."""
        left = memoryview(data)
        while left and not self.lost:
            try:
                left = left[self._write_some(left) :]
            except OSError as error:
                self.lost = True
                self.problem = None if error.errno in _NOBODY_READS else error
        return memoryview(data).nbytes

    def _write_some(self, data: memoryview) -> int:
        written = super().write(data)
        if written is None:  # somebody who shares it has made it non-blocking
            select.select([], [self], [])
        return written or 0


def _choose_encoding(asked: str) -> str:
    """UTF-8 where the codec that was asked for, as by PYTHONIOENCODING=idna, cannot even write plain letters."""
    try:
        "A sentence, 1 of 2: …\n".encode(asked, READABLE)
    except (UnicodeError, LookupError):
        return "utf-8"
    return asked


_OUTPUTS: dict[int, _Output] = {}


def _open_stream(stream: TextIO | None, original: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # as long as the process
    if stream is not original or not isinstance(stream, io.TextIOWrapper):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    _OUTPUTS[number] = _Output(number, stream)
    return _OUTPUTS[number].text
