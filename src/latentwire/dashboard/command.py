"""`latentwire dashboard`: writes the page until every item is finished, or serves it on this machine alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from latentwire.dashboard.facts import gather_facts
from latentwire.dashboard.page import render_page
from latentwire.dashboard.serve import serve_page
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.item import TrainItem
from latentwire.output_files import write_text_file
from latentwire.params.load import AnyParams, check_choice, load_any_params
from latentwire.status import SHARE, ReadStatus, all_finished, status_reader
from unbroken.standard_streams import print_sentence


@dataclass(frozen=True)
class Page:
    """One state of the page."""

    text: str
    is_last: bool
    """Every item is finished."""
    pause: float
    """Seconds until it is worth while to make the next one."""


class PageMaker:
    """Makes the page of a repository again and again."""

    def __init__(self, root: Path, item: str | None, seconds: float) -> None:
        """Read the parameters.

        Raises:
            ConfigurationError: There is no such item.
        """
        self._root, self._seconds = root, seconds
        self._values: AnyParams = load_any_params(root / "params.yaml")
        if item is not None:
            check_choice("--item", item, [known.name for known in TrainItem.all(self._values)])
        self._read_status: ReadStatus = status_reader(self._values, root, item)

    def make(self) -> Page:
        """The page as things stand now; what is not there yet is waited for, and the page says so."""
        began, waiting = time.monotonic(), ""
        try:
            statuses = self._read_status()
        except ConfigurationError as error:
            statuses, waiting = {}, f"Waiting. {error}"
        facts = gather_facts(self._values, self._root, statuses, waiting)
        is_last = bool(statuses) and all_finished(statuses)
        pause = max(self._seconds, SHARE * (time.monotonic() - began))
        return Page(render_page(facts, None if is_last else pause), is_last, pause)


def write_dashboard(root: Path, item: str | None, output: Path, once: bool, seconds: float) -> int:
    """Write the page again and again until every item is finished or the user interrupts; return exit code 0.

    Args:
        root: The repository.
        item: Only this one.
        output: The page.
        once: Write it once, and no more.
        seconds: Between two pages.

    Raises:
        ConfigurationError: There is no such item.
        LatentWireError: The page cannot be written.
    """
    maker = PageMaker(root, item, seconds)
    page = maker.make()
    try:
        write_text_file(output, page.text)
    except OSError as error:
        raise LatentWireError(
            f"{output} cannot be written: {error.strerror}. Next: --output with another place."
        ) from error
    said: set[str] = set()
    going_on = "" if once or page.is_last else f"; it is written anew each {seconds:g} s until every item is finished"
    print_sentence(f"Open {output} in a browser{going_on}.")
    try:
        while not (once or page.is_last):
            time.sleep(page.pause)
            page = maker.make()
            _replace(output, page, said)
    except KeyboardInterrupt:
        print_sentence("The training is not affected.")
    return 0


def _replace(output: Path, page: Page, said: set[str]) -> None:
    """A disk that refuses costs a page, and is reported once; the next page may find room."""
    try:
        write_text_file(output, page.text)
    except OSError as error:
        sentence = f"{output} was not written: {error.strerror}."
        if sentence not in said:
            print_sentence(sentence)
        said.add(sentence)


def serve_dashboard(root: Path, item: str | None, port: int, seconds: float) -> int:
    """Serve the page to this machine alone, made anew for every request, until the user interrupts; return exit code 0.

    Raises:
        ConfigurationError: There is no such item, or the port is not to be had.
    """
    maker = PageMaker(root, item, seconds)
    serve_page(lambda: maker.make().text, port, lambda address: print_sentence(f"Open {address} in a browser."))
    print_sentence("The training is not affected.")
    return 0
