"""The page in a real browser: what is drawn is what journals hold, nothing is cut on a phone, both colour schemes."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.dashboard.command import PageMaker
from latentwire.rehearsal.tiny import NO_ABLATIONS
from tests.support.dashboard_pages import CARD, SHORT, reading_at, short_of
from tests.support.toy_items import ITEM, STEPS, at, attempt, loss_at, store
from unbroken.run_folder.lock import FolderLock

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here; Debian has it: apt-get install chromium"),
]
PHONE, DESK = 375, 1280
"""Pixels."""
DARK = "--blink-settings=preferredColorScheme=0"

# Before anything else in the page: what goes wrong is collected.
FIRST = """<script>
window.wrong = [];
addEventListener("error", (event) => wrong.push(String(event.message)));
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => wrong.push("policy: " + event.blockedURI));
</script>"""
# After everything else: once all visible charts are drawn, what a reader sees is told to the frame around.
LAST = """<script>
const plots = () => [...document.querySelectorAll(".chart")].filter((node) => node.checkVisibility());
const cut = (node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== "inline";
const colors = (node) => [node.innerText, getComputedStyle(node).color, getComputedStyle(node).fontSize];
function look() {
  if (!plots().every((node) => node.querySelector(".scatterlayer .trace"))) return setTimeout(look, 100);
  parent.postMessage(JSON.stringify({
    wrong,
    text: document.body.innerText,
    requests: performance.getEntriesByType("resource").length,
    width: innerWidth,
    wide: [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && !node.closest("svg")
      && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80)),
    cut: [...document.querySelectorAll("th, td, p, summary, figcaption")].filter(cut).map((node) => node.innerText),
    paper: getComputedStyle(document.body).backgroundColor,
    words: [...document.querySelectorAll("h1, p, th, td, .verdict, figcaption span")]
      .filter((node) => node.checkVisibility()).map(colors),
    charts: Object.fromEntries(plots().map((node) => [node.dataset.figure, {
      width: node.querySelector(".main-svg").getBoundingClientRect().width,
      curves: node._fullData.map((trace) => ({ name: trace.name, x: [...trace.x], y: [...trace.y] })),
      lines: [...node.querySelectorAll(".scatterlayer .js-line")].map((path) => path.getAttribute("d")),
      marks: node.querySelectorAll(".annotation").length,
      ticks: [...node.querySelectorAll(".xtick text")].map((tick) => tick.textContent),
    }])),
  }), "*");
}
addEventListener("load", look);
</script>"""
AROUND = """<!doctype html><body style="margin:0">
<iframe src="page.html" style="width:WIDTHpx;height:HEIGHTpx;border:0"></iframe><pre id="told"></pre><script>
let loads = 0;
addEventListener("message", (event) => {
  loads += 1;
  document.getElementById("told").textContent = JSON.stringify({ ...JSON.parse(event.data), loads });
});
</script></body>"""

Browse = Callable[..., dict[str, Any]]


@pytest.fixture
def browse(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Browse:
    """Makes the page, opens it in a browser without network, and returns what a reader sees."""

    def browse(width: int = DESK, *options: str, seconds: float = 600.0, virtual_s: int = 20) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("browser")
        page = PageMaker(root, None, seconds).make().text
        page = page.replace("<head>", f"<head>{FIRST}", 1)
        head, body, tail = page.rpartition("</body>")
        (folder / "page.html").write_text(f"{head}{LAST}{body}{tail}")
        around = AROUND.replace("WIDTH", str(width)).replace("HEIGHT", "9000")
        (folder / "around.html").write_text(around)
        done = subprocess.run(
            [
                str(BROWSER),
                *("--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder / 'profile'}",
                f"--window-size={max(width, 500)},9000",
                f"--virtual-time-budget={1000 * virtual_s}",
                *options,
                "--dump-dom",
                (folder / "around.html").as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        told = re.search(r'<pre id="told">(.+?)</pre>', done.stdout, re.DOTALL)
        assert told, (done.stdout[-2000:], done.stderr[-2000:])
        seen: dict[str, Any] = json.loads(unescape(told[1]))
        assert seen["wrong"] == []
        assert seen["requests"] == 0
        return seen

    return browse


@pytest.fixture
def folder(root: Path) -> Path:
    """The run folder of the item."""
    return root / "state" / f"{ITEM}-{SHORT}"


def test_what_is_drawn_is_what_the_journal_holds(folder: Path, browse: Browse) -> None:
    assert attempt(folder, 25, signal.SIGKILL) == -signal.SIGKILL
    assert attempt(folder, 33, signal.SIGTERM) == 75
    (folder / "readings.jsonl").write_text("".join(reading_at(5.0 + place, cpu=9.0 * place) for place in range(5)))
    lock = FolderLock(folder, 0)  # as if it ran: its part of the page is open
    seen = browse()
    lock.release()
    loss = seen["charts"][f"{ITEM}/train/loss"]
    assert loss["curves"] == [
        {"name": "train/loss", "x": list(range(1, 34)), "y": [loss_at(step) for step in range(1, 34)]}
    ]
    assert loss["marks"] == 1
    assert STEPS / 2 < float(loss["ticks"][-1]) <= STEPS
    quality = seen["charts"][f"{ITEM}/validation/accuracy"]["curves"]
    assert quality == [{"name": "gemma3", "x": [16, 32], "y": [0.25, 0.5]}]
    for chart in seen["charts"].values():
        assert chart["lines"]
        assert all(path.startswith("M") and len(path) > 10 for path in chart["lines"])
    cells = [cell.strip() for cell in re.split(r"[\t\n]+", seen["text"])]
    for text in (ITEM, "running", "33/64", "2 (1 preempted, 1 killed)", "preempted by SIGTERM", "killed", "0.0303"):
        assert text in cells, seen["text"]


def fill(root: Path) -> None:
    """Every kind of thing that a page has: alerts, long names, several GPUs, several items."""
    start = [at(9000, "start", step=0), at(8000, "start", step=4, restart=1, host="node-with-a-very-long-name-" * 3)]
    store(root / "state" / f"{ITEM}-{SHORT}", start, 40, {9: math.nan})
    cards = [
        {**CARD, "name": "NVIDIA H200 NVL 141GB", "uuid": f"GPU-{x * 8}-1", "busy": 90, "power": 1.0} for x in "ab"
    ]
    lines = [reading_at(5.0 + place, cpu=3.0, gpus=cards, problems=["X" * 200]) for place in range(9)]
    (root / "state" / f"{ITEM}-{SHORT}" / "readings.jsonl").write_text("".join(lines))
    other = root / "state" / f"wire-r8-1-{short_of('wire-r8-1')}"
    store(other, [at(9000, "start", step=0), at(9, "end", verdict="finished")], 64)


def test_a_phone_shows_everything_and_cuts_nothing(root: Path, folder: Path, browse: Browse) -> None:
    fill(root)
    lock = FolderLock(folder, 0)
    seen = browse(PHONE)
    lock.release()
    assert seen["width"] == PHONE
    assert (seen["wide"], seen["cut"]) == ([], [])
    assert {round(chart["width"]) <= PHONE for chart in seen["charts"].values()} == {True}
    of_item = ("train/loss", "gpu", "gpu-memory", "gpu-power", "gpu-temperature", "host")
    assert set(seen["charts"]) == {"all/loss", *(f"{ITEM}/{name}" for name in of_item)}
    for text in (
        "node-with-a-very-long-name-" * 3,
        "X" * 200,
        "wire-rotten_tomatoes-permuted-0",
        "train/loss became nan",
    ):
        assert text in seen["text"].replace("\n", " ")
    assert {float(size.removesuffix("px")) >= 12 for _, _, size in seen["words"]} == {True}


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("option", "is_dark"), [("--blink-settings=preferredColorScheme=1", False), (DARK, True)])
def test_every_word_is_legible_by_day_and_by_night(
    root: Path, folder: Path, browse: Browse, option: str, is_dark: bool
) -> None:
    fill(root)
    lock = FolderLock(folder, 0)
    seen = browse(DESK, option)
    lock.release()
    paper = luminance(seen["paper"])
    assert (paper < 0.1) is is_dark
    for text, color, _ in seen["words"]:
        lighter, darker = sorted([luminance(color), paper], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, text


def test_it_loads_itself_again_until_all_is_finished(root: Path, folder: Path, browse: Browse) -> None:
    store(folder, [at(900, "start", step=0)], 9)
    assert browse(seconds=3.0)["loads"] > 1
    path = root / "params.yaml"
    values = yaml.safe_load(path.read_text())
    values["prepare"]["tasks"], values["train"]["seeds"] = ["r8"], [0]
    values["train"]["ablations"] = NO_ABLATIONS
    path.write_text(yaml.safe_dump(values))
    shutil.rmtree(folder)
    store(folder, [at(900, "start", step=0), at(9, "end", verdict="finished", step=STEPS)], STEPS)
    seen = browse(seconds=3.0)
    assert seen["text"].startswith("Training\n\n1 finished")
    assert seen["loads"] == 1
