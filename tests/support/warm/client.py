"""Asks the server for a process. Imports little, because it is also the `python` that DVC starts for each stage."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ANSWER_BYTES = 64


def run_warm(
    path: Path | str,
    arguments: Sequence[str],
    folder: Path | str,
    variables: Mapping[str, str],
    descriptors: Sequence[int] = (0, 1, 2),
    limit_s: float | None = None,
    session: bool = False,
) -> int:
    """Run `python ARGUMENTS` to its end; returns its exit code, a signal's number negated.

    Args:
        path: The server's socket.
        arguments: `-m MODULE …`, `-c TEXT …` or `FILE …`.
        folder: Where it starts.
        variables: Its whole environment.
        descriptors: Its standard input, output and error.
        limit_s: Seconds after which it is killed with all of its process group.
        session: Whether it leads a session and a process group of its own.

    Raises:
        TimeoutError: It took longer than `limit_s`.
        ConnectionError: The server is gone.
    """
    asked = {"arguments": list(arguments), "folder": str(folder), "variables": dict(variables), "session": session}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as place:
        place.connect(str(path))
        socket.send_fds(place, [json.dumps(asked).encode()], list(descriptors))
        pid = _read_number(place)
        place.settimeout(limit_s)
        try:
            return _read_number(place)
        except TimeoutError:
            (os.killpg if session else os.kill)(pid, signal.SIGKILL)
            raise


def _read_number(place: socket.socket) -> int:
    text = place.recv(ANSWER_BYTES)
    if not text:
        raise ConnectionError("the server of forks is gone; expected an answer. Next: look for its last output")
    return int(text)


def stand_in(path: str) -> None:
    """Be the `python` of this command line: its folder, variables and descriptors, and the same end."""
    arguments = sys.argv[1:]
    if not can_fork(arguments):
        os.execv(sys.executable, [sys.executable, *arguments])
    code = run_warm(path, arguments, os.getcwd(), os.environ)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def can_fork(arguments: Sequence[str]) -> bool:
    """Whether it is a module, a text or a file: an option of the interpreter needs an interpreter of its own."""
    return bool(arguments) and (arguments[0] in ("-m", "-c") or not arguments[0].startswith("-"))
