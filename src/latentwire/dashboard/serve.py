"""The page over HTTP, on the loopback interface and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from latentwire.errors import ConfigurationError
from unbroken.errors import describe_error

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost")
"""By which a browser may call this machine; a page of a stranger whose name leads here is refused."""


def serve_page(render: Callable[[], str], port: int, announce: Callable[[str], None]) -> None:
    """Serve until the user interrupts.

    Args:
        render: Makes the page, once at a time.
        port: Where; 0 takes a free one.
        announce: Is told the address once it answers.

    Raises:
        ConfigurationError: The port is not to be had.
    """
    try:
        server = PageServer(render, port)
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} of {LOOPBACK} is not to be had: {error.strerror}. Next: another --port, or 0 for a free one."
        ) from error
    with server:
        announce(f"http://{LOOPBACK}:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


class PageServer(ThreadingHTTPServer):
    """Answers each request with a page that is made for it."""

    daemon_threads = True

    def __init__(self, render: Callable[[], str], port: int) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self._render, self._one = render, threading.Lock()

    def make_page(self) -> bytes:
        """The page; several readers are served one after the other."""
        with self._one:
            return self._render().encode()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_HEAD(self) -> None:
        """Whether there is somebody who would make the page."""
        self._answer(self._problem() or HTTPStatus.OK, b"")

    def do_GET(self) -> None:
        """The page."""
        problem = self._problem()
        if problem is not None:
            self._answer(problem, problem.phrase.encode(), "text/plain")
            return
        try:
            self._answer(HTTPStatus.OK, self.server.make_page())
        except ConnectionError:  # the browser has left
            return
        except Exception as error:  # the next request may find a better moment
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, describe_error(error).encode(), "text/plain")

    def _problem(self) -> HTTPStatus | None:
        if self.headers.get("Host", "").partition(":")[0] not in HOSTS:
            return HTTPStatus.FORBIDDEN
        return None if self.path.partition("?")[0] == "/" else HTTPStatus.NOT_FOUND

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/html") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not worth a line."""
