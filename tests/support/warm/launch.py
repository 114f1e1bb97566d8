"""One server of forks for all workers of a test session, started by the first that needs it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from latentwire.environment import MLFLOW_DEFAULTS
from tests.support.warm import client, server

START_S = 300.0
STAND_IN = """#!{python} -IS
import sys
sys.path.insert(0, {folder!r})
from client import stand_in
stand_in({path!r})
"""


@dataclass(frozen=True)
class WarmPython:
    """Runs Python programs as forks of a process that has imported the large libraries."""

    path: Path
    """The server's socket."""

    @property
    def folder(self) -> Path:
        """It has a `python` that is a fork too, for the PATH of a program that starts some. Killed, it kills it."""
        return self.path.parent

    def run(
        self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str], limit_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in a session of its own; its output and errors are one text.

        Raises:
            TimeoutError: It took longer than `limit_s`, and was killed.
        """
        with tempfile.TemporaryFile() as output, open(os.devnull, "rb") as nothing:
            descriptors = [nothing.fileno(), output.fileno(), output.fileno()]
            code = client.run_warm(self.path, arguments, folder, variables, descriptors, limit_s, session=True)
            output.seek(0)
            return subprocess.CompletedProcess(["python", *arguments], code, output.read().decode(errors="replace"))


@contextlib.contextmanager
def warm_python(folder: Path, libraries: Sequence[str]) -> Iterator[WarmPython]:
    """The session's server, started where there is none; it ends when its last user leaves.

    Args:
        folder: Of the session, shared by its workers.
        libraries: What the server imports before it forks.
    """
    with FileLock(folder / "warm.lock"):
        noted = folder / "warm.path"
        place = _connect(Path(noted.read_text())) if noted.exists() else None
        if place is None:
            noted.write_text(str(_start(folder, libraries)))
            place = _wait_for(Path(noted.read_text()), folder / "warm.log")
    with place:
        yield WarmPython(Path(noted.read_text()))


def _start(folder: Path, libraries: Sequence[str]) -> Path:
    # Not in the session's folder: the path of a socket has 107 bytes at most.
    path = Path(tempfile.mkdtemp(prefix="warm-")) / "socket"
    stand_in = path.with_name("python")
    stand_in.write_text(
        STAND_IN.format(python=sys.executable, folder=str(Path(client.__file__).parent), path=str(path))
    )
    stand_in.chmod(0o755)
    output = (os.POSIX_SPAWN_OPEN, 1, str(folder / "warm.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    inherited = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), output, (os.POSIX_SPAWN_DUP2, 1, 2)]
    command = [sys.executable, "-P", server.__file__, str(path), *libraries]
    # No Popen: the server may outlive this process, which another worker's tests need.
    os.posix_spawn(sys.executable, command, _variables(), file_actions=inherited, setsid=True)
    return path


def _variables() -> dict[str, str]:
    """What the libraries read when they are imported; each fork has variables of its own."""
    own = {**MLFLOW_DEFAULTS, "GOMP_SPINCOUNT": "10000", "HF_HUB_OFFLINE": "1"}
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW_"))}, **own}


def _connect(path: Path) -> socket.socket | None:
    place = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        place.connect(str(path))
    except OSError:
        place.close()
        return None
    return place


def _wait_for(path: Path, log: Path) -> socket.socket:
    end = time.monotonic() + START_S
    while (place := _connect(path)) is None:
        assert time.monotonic() < end, f"the server of forks did not start: {log.read_text()}"
        time.sleep(0.05)
    return place
