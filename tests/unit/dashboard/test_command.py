"""The command: a page that is whole at any moment, written until all is finished, or served to this machine alone."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from latentwire.cli import run
from latentwire.dashboard import command
from latentwire.dashboard.command import Page, write_dashboard
from latentwire.dashboard.serve import PageServer
from latentwire.errors import LatentWireError
from tests.support.dashboard_pages import SHORT, ParsedPage
from tests.support.toy_items import ITEM, at, store


def invoke(*arguments: str, code: int = 0) -> None:
    with pytest.raises(SystemExit, match=rf"^{code}$"):
        run(["dashboard", *arguments])


def test_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root / "state" / f"{ITEM}-{SHORT}", [at(900, "start", step=0)], 9)
    before = {path.name for path in root.iterdir()}
    invoke("--once", "--root", str(root), "--output", str(root / "page.html"))
    assert {path.name for path in root.iterdir()} - before == {"page.html"}
    assert ParsedPage((root / "page.html").read_text()).item(ITEM)["step"] == 9
    assert f"Open {root / 'page.html'} in a browser.\n" in capsys.readouterr().err


def test_what_cannot_be(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invoke("--item", "wire-r8-9", "--root", str(root), code=2)
    assert "--item 'wire-r8-9' is not in params.yaml" in capsys.readouterr().err
    invoke("--once", "--root", str(root), "--output", str(root / "nowhere/page.html"), code=1)
    assert "page.html cannot be written: No such file or directory. Next: --output" in capsys.readouterr().err
    invoke("--once", "--root", str(root / "nowhere"), code=2)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[Page | BaseException]:
    """What the maker makes, one after the other."""
    planned: list[Page | BaseException] = []

    class Planned:
        def __init__(self, *_: object) -> None: ...

        def make(self) -> Page:
            page = planned.pop(0)
            if isinstance(page, BaseException):
                raise page
            return page

    monkeypatch.setattr(command, "PageMaker", Planned)
    return planned


def test_it_is_written_until_all_is_finished(tmp_path: Path, pages: list[Page | BaseException]) -> None:
    pages += [Page("first", False, 0.01), Page("second", False, 0.01), Page("last", True, 0.01)]
    assert write_dashboard(tmp_path, None, tmp_path / "page.html", False, 0.01) == 0
    assert (tmp_path / "page.html").read_text() == "last"
    assert pages == []


def test_an_interrupt_ends_it(
    tmp_path: Path, pages: list[Page | BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    pages += [Page("first", False, 0.01), KeyboardInterrupt()]
    assert write_dashboard(tmp_path, None, tmp_path / "page.html", False, 0.01) == 0
    assert (tmp_path / "page.html").read_text() == "first"
    assert "it is written anew each 0.01 s until every item is finished" in (said := capsys.readouterr().err)
    assert "The training is not affected." in said


def test_a_disk_that_fills_up_costs_pages_and_leaves_the_last_one(
    tmp_path: Path,
    pages: list[Page | BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, full = command.write_text_file, iter([False, True, True, False])

    def write(path: Path, text: str) -> Path:
        if next(full):
            raise OSError(28, "No space left on device")
        return real(path, text)

    monkeypatch.setattr(command, "write_text_file", write)
    pages += [Page(text, text == "d", 0.01) for text in "abcd"]
    assert write_dashboard(tmp_path, None, tmp_path / "page.html", False, 0.01) == 0
    assert (tmp_path / "page.html").read_text() == "d"
    assert capsys.readouterr().err.count("was not written: No space left on device.") == 1
    monkeypatch.setattr(command, "write_text_file", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    pages.append(Page("e", True, 0.01))
    with pytest.raises(LatentWireError, match=r"cannot be written: full\. Next: "):
        write_dashboard(tmp_path, None, tmp_path / "page.html", False, 0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.long
def test_plotly_is_imported_by_this_command_alone() -> None:
    code = "import sys, latentwire.cli, latentwire.watch, latentwire.history; sys.exit('plotly' in sys.modules)"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


class Made:
    """A server, and how often it made a page."""

    def __init__(self) -> None:
        self.count = 0
        self.problem: Exception | None = None
        self.server = PageServer(self.make, 0)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def make(self) -> str:
        if self.problem is not None:
            raise self.problem
        self.count += 1
        return f"page {self.count}"

    def ask(self, path: str = "/", host: str = "localhost", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        assert answer.status != 200 or answer.getheader("Cache-Control") == "no-store"
        return answer.status, answer.read().decode()


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_each_request_gets_a_new_page(made: Made) -> None:
    assert [made.ask(), made.ask("/?again")] == [(200, "page 1"), (200, "page 2")]
    assert made.ask(method="HEAD") == (200, "")
    assert made.count == 2


@pytest.mark.parametrize("path", ["/params.yaml", "/../params.yaml", "//x", "/state/"])
def test_nothing_else_is_served(made: Made, path: str) -> None:
    assert made.ask(path)[0] == 404
    assert made.ask(path, method="HEAD")[0] == 404
    assert made.ask(method="POST")[0] == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9000", 200),
        ("localhost:8765", 200),
        ("evil.example", 403),
        ("evil:80", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine_lead_there(made: Made, host: str, status: int) -> None:
    """A name of a stranger that resolves to 127.0.0.1 would let his page read this one."""
    assert made.ask(host=host)[0] == status
    assert made.count == int(status == 200)


def test_it_listens_on_the_loopback_interface(made: Made) -> None:
    assert made.server.server_address[0] == "127.0.0.1"


def test_a_page_that_cannot_be_made_is_an_answer_and_the_next_may_be(made: Made) -> None:
    made.problem = OSError("stale")
    assert made.ask() == (500, "OSError: stale")
    made.problem = None
    assert made.ask() == (200, "page 1")


def test_the_served_page(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself: it says where, answers with things as they stand, and ends with an interrupt."""
    answers: list[ParsedPage] = []
    folder = root / "state" / f"{ITEM}-{SHORT}"

    def serve(server: PageServer) -> None:
        threading.Thread(target=ThreadingHTTPServer.serve_forever, args=(server,), daemon=True).start()
        for steps in (9, 12):
            store(folder, [at(900, "start", step=0)], steps)
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request("GET", "/")
            answers.append(ParsedPage(connection.getresponse().read().decode()))
            shutil.rmtree(folder)
        server.shutdown()
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", serve)
    invoke("--serve", "--port", "0", "--root", str(root))
    assert [page.item(ITEM)["step"] for page in answers] == [9, 12]
    said = capsys.readouterr().err
    assert "Open http://127.0.0.1:" in said
    assert "The training is not affected." in said


def test_a_port_that_is_in_use(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        invoke("--serve", "--port", str(port), "--root", str(root), code=2)
    assert f"Port {port} of 127.0.0.1 is not to be had: Address already in use. Next: another --port" in (
        capsys.readouterr().err
    )
