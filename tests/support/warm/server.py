"""The process that is forked: `python -P server.py SOCKET LIBRARY…`. It ends with its last client."""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

REQUEST_BYTES = 1 << 17
ORIGINAL_PATH = list(sys.path)


@dataclass(frozen=True)
class Request:
    """A command `python -m MODULE …` or `python FILE …`, without `python`."""

    arguments: list[str]
    folder: str
    variables: dict[str, str]
    session: bool
    """Does it lead a session of its own?"""
    descriptors: list[int]
    """Standard input, output and error."""


class Server:
    """Accepts requests, forks for each, and tells the client the process's id and, at its end, its status."""

    def __init__(self, path: Path) -> None:
        self._clients: dict[socket.socket, int | None] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._ended, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake = wake
        for source in (self._listener, self._ended):
            self._selector.register(source, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Returns in every fork, with what it shall do; in the server itself None, once no client is left."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._ended:
                    self._report_ended()
                elif request := self._receive(key.fileobj):  # type: ignore[arg-type]
                    return request
                elif not self._clients:
                    return None

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self._clients[client] = None
        self._selector.register(client, selectors.EVENT_READ)

    def _receive(self, client: socket.socket) -> Request | None:
        """A request; None in the server, and where the client is gone, whose process is killed then."""
        text, descriptors, _, _ = socket.recv_fds(client, REQUEST_BYTES, 3)
        if not text:
            self._drop(client)
            return None
        request = Request(**json.loads(text), descriptors=descriptors)
        pid = os.fork()
        if pid == 0:
            self._forget()
            return request
        self._clients[client] = pid
        client.send(str(pid).encode())
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _drop(self, client: socket.socket) -> None:
        pid = self._clients.pop(client)
        self._selector.unregister(client)
        client.close()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _report_ended(self) -> None:
        self._ended.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for client in [client for client, theirs in self._clients.items() if theirs == pid]:
                self._clients[client] = None
                with contextlib.suppress(BrokenPipeError):
                    client.send(str(os.waitstatus_to_exitcode(status)).encode())

    def _forget(self) -> None:
        """In a fork: nothing of the server stays."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for each in (self._listener, self._ended, self._wake, *self._clients):
            each.close()


def become(request: Request, python: Path) -> None:
    """Take over everything in which the requested process differs from the server; what it starts is a fork too."""
    if request.session:
        os.setsid()
    for number, descriptor in enumerate(request.descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.variables)
    sys.executable = str(python)
    sys.orig_argv = [sys.executable, *request.arguments]
    paths = [path for path in request.variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*(os.path.abspath(path) for path in paths), *ORIGINAL_PATH]
    for module in ("numpy", "torch"):  # Python's own generator is seeded anew by every fork
        if module in sys.modules:
            (sys.modules[module].random if module == "numpy" else sys.modules[module]).seed()


def run_command(arguments: list[str]) -> None:
    """As the interpreter would."""
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__", "__builtins__": builtins})
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    """Import the libraries, then serve."""
    path, *libraries = sys.argv[1:]
    for library in libraries:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    request = Server(Path(path)).serve()
    if request is None:
        shutil.rmtree(Path(path).parent)
    else:
        become(request, Path(path).with_name("python"))
        run_command(request.arguments)


if __name__ == "__main__":
    main()
