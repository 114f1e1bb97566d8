"""A page of the dashboard as a browser finds it, and readings of a machine to put on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from zlib import crc32

SHORT = "0123456789ab"
"""The identity of the first item in `root`."""


def short_of(item: str) -> str:
    """The identity of an item in `root`, as its folder is named by it."""
    return SHORT if item == "wire-r8-0" else f"{crc32(item.encode()):012x}"


CARD = {"name": "NVIDIA H200", "uuid": "GPU-11112222-3333", "used": 2**30, "total": 2**37, "temperature": 61}


class ParsedPage(HTMLParser):
    """What a browser finds in the page: its scripts, the text that is shown, and what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.loaded: list[str] = []
        self.cells: list[str] = []
        self._inside = ""
        self.source = text
        self.feed(text)
        self.facts: dict[str, Any] = json.loads(self.scripts["facts"])
        self.figures: dict[str, Any] = json.loads(self.scripts["figures"])
        self.shown = " ".join(" ".join(self.cells).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self._inside = f"script:{named.get('id', len(self.scripts))}" if tag == "script" else tag
        self.loaded += [named[name] for name in ("src", "href", "data", "action") if named.get(name)]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside.startswith("script:"):
            name = self._inside.removeprefix("script:")
            self.scripts[name] = self.scripts.get(name, "") + data
        elif self._inside != "style":
            self.cells.append(data)

    def item(self, name: str) -> dict[str, Any]:
        """The facts of an item."""
        (found,) = [item for item in self.facts["items"] if item["item"] == name]
        return found

    def curve(self, figure: str, place: int = 0) -> dict[Any, Any]:
        """x → y of a curve."""
        trace = self.figures[figure]["data"][place]
        return dict(zip(trace["x"], trace["y"], strict=True))

    def marks(self, figure: str) -> dict[Any, str]:
        """Where starts went on → what is said of them."""
        return {sign["x"]: sign["hovertext"] for sign in self.figures[figure]["layout"]["annotations"]}


Show = Callable[..., ParsedPage]


def reading_at(uptime: float, **values: object) -> str:
    moment = f"2026-01-01T00:00:{uptime:06.3f}+00:00"
    return json.dumps({"time": moment, "uptime": uptime, "host": "a", "pid": 7, **values}) + "\n"
