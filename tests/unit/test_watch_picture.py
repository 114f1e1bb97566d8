"""The picture of `latentwire watch`: the colors of the terminal come through, and nothing in it is markup."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import watch_picture

ROOT = Path(__file__).parents[2]


def test_colors_and_words_of_a_terminal_come_through() -> None:
    page = watch_picture.render_page("\x1b[1mwire-r8-0\x1b[0m  \x1b[32mfinished\x1b[0m <b>64/64</b> [red]")
    code = page.partition("<pre>")[2]
    assert "&lt;b&gt;64/64&lt;/b&gt; [red]" in code
    assert '<span class="r' in code
    assert "font-weight: bold" in page.partition("<pre>")[0]


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(SystemExit, match=r"error: none-such was not found, .* Next: apt-get install none-such"):
        watch_picture.find_program("none-such")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here; Debian has it: apt-get install tmux")
def test_a_terminal_holds_every_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `prepare` there is a sentence, which is captured as well once the time is over."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setattr(watch_picture, "LONGEST_S", 20.0)
    captured = watch_picture.capture_watch(tmp_path, tmp_path)
    assert "dvc repro prepare" in " ".join(captured.split())
