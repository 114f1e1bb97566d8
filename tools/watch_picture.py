"""`python -m tools.watch_picture ROOT [--output FILE]`: a picture of `latentwire watch` as a terminal shows it.

Runs it in tmux, where trainings of the checkout ROOT may be under way, and lets Chromium draw what the terminal holds.
Needs both (Debian: apt-get install tmux chromium). docs/images/watch.png is of a sandbox with four items of one task:
one finished, one preempted, one that went on after a preemption and trains, one that waits.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, LINES = 110, 24
CELL = (10, 22)
"""Pixels of a character."""
LONGEST_S = 120.0
PAGE = """<!doctype html><meta charset="utf-8"><style>{stylesheet}
body {{ margin: 0; padding: 16px; background: #0c0c0c; color: #d9d9d9; }}
pre {{ margin: 0; font: 16px/22px "DejaVu Sans Mono", monospace; }}</style><pre>{code}</pre>
"""


def find_program(*names: str) -> str:
    """The first of them that is here. Ends the process where there is none."""
    for name in names:
        if path := shutil.which(name):
            return path
    sys.exit(f"error: {names[0]} was not found, expected it on PATH. Next: apt-get install {names[0]}")


def capture_watch(root: Path, folder: Path) -> str:
    """What a terminal with `latentwire watch` holds, with its colors, once a training is shown."""
    tmux = [find_program("tmux"), "-S", str(folder / "tmux"), "-f", "/dev/null"]
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    watch = [sys.executable, "-c", "from latentwire.cli import run; run()", "watch", "--every", "1"]
    subprocess.run([*tmux, "new-session", "-d", *size, *watch, "--root", str(root.resolve())], check=True)
    try:
        deadline = time.monotonic() + LONGEST_S
        while True:
            shown = subprocess.run([*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True)
            if "steps/s" in shown.stdout or time.monotonic() > deadline:
                return shown.stdout.rstrip("\n")
            time.sleep(0.5)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def render_page(captured: str) -> str:
    """HTML of a text with a terminal's colors."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(captured), soft_wrap=True)
    return console.export_html(theme=MONOKAI, code_format=PAGE)


def draw_page(page: str, lines: int, output: Path, folder: Path) -> None:
    """Write the picture that a browser draws of a page."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    width, height = COLUMNS * CELL[0] + 32, lines * CELL[1] + 32
    browser = find_program("chromium", "chromium-browser", "google-chrome")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
    picture = [f"--screenshot={output.resolve()}", f"--window-size={width},{height}"]
    subprocess.run([browser, *options, *picture, str(folder / "page.html")], check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    """Capture and draw."""
    parser = argparse.ArgumentParser(prog="python -m tools.watch_picture", description=__doc__)
    parser.add_argument("root", type=Path, help="a checkout with trainings")
    parser.add_argument("--output", type=Path, default=Path("docs/images/watch.png"), help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        captured = capture_watch(options.root, Path(name))
        draw_page(render_page(captured), len(captured.splitlines()), options.output, Path(name))


if __name__ == "__main__":
    main()
