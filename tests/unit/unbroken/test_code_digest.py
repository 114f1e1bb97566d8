"""The digest of code: what it follows, and what it leaves out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from unbroken.errors import UnbrokenError
from unbroken.run_folder.code_digest import code_digest, source_digest, syntax_digest

PLAIN = """
class Loss:
    scale: float = 2.0

    def __call__(self, x):
        return f"{x!r:>{self.scale}}", -1.5e-3, b"\\x00", ..., None, [y async for y in x]
"""

GOLDEN = "b33ef5c8bdb578b3826868cec618edcb3a425d8fe24a3a099ce61a9d299c9969"


def digest(text: str) -> str:
    return syntax_digest(textwrap.dedent(text).encode())


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


WORDS = {
    "comment": PLAIN.replace("2.0", "2.0  # why\n"),
    "docstring of a module": '"""What it is."""\n' + PLAIN,
    "docstring of a class": PLAIN.replace("Loss:", 'Loss:\n    """Why."""\n'),
    "docstring below an attribute": PLAIN.replace("2.0", '2.0\n    """Its unit."""'),
    "docstring of a function": PLAIN.replace("x):", 'x):\n        """Raises nothing."""'),
    "layout": PLAIN.replace("(self, x)", "(\n        self,\n        x,\n    )"),
    "quotes": PLAIN.replace('f"', "f'").replace('}"', "}'"),
}


@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS.keys())
def test_words_and_layout_change_nothing(text: str) -> None:
    assert text != PLAIN
    assert digest(text) == digest(PLAIN)


DEEDS = {
    "a number": ("2.0", "2.5"),
    "a type of number": ("2.0", "2"),
    "a sign": ("-1.5e-3", "1.5e-3"),
    "a name": ("self.scale", "self.size"),
    "an annotation": (": float", ": int"),
    "a format": ("!r", "!s"),
    "a byte": ("x00", "x01"),
    "nothing instead of something": ("None", "..."),
    "a string that is a value": ("return f", 'return "doc", f'),
    "a default": ("(self, x)", "(self, x=None)"),
    "the kind of a loop": ("async for", "for"),
    "a decorator": ("    def", "    @staticmethod\n    def"),
}


@pytest.mark.parametrize(("before", "after"), DEEDS.values(), ids=DEEDS.keys())
def test_whatever_it_does_counts(before: str, after: str) -> None:
    changed = PLAIN.replace(before, after, 1)
    if before == "async for":  # a plain loop stands in a plain function
        changed = changed.replace("async ", "")
    assert changed != PLAIN
    assert digest(changed) != digest(PLAIN)


def test_a_list_and_an_empty_list_differ() -> None:
    texts = ("x = []", "x = [[]]", "x = ()", "x = {}", "x = None", "x = ''", "x: int", "return_ = x", "pass")
    assert len({digest(text) for text in texts}) == len(texts)


def test_the_digest_is_this_one_on_every_version_of_python() -> None:
    """What Python 3.11 says; a newer version, whose nodes have more fields, has to say the same."""
    assert digest(PLAIN) == GOLDEN


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stage that imports a loss and code that only carries, which imports a hidden part of the science."""
    files = {
        "lab.__init__": "",
        "lab.stage": "import lab.science.loss\nimport lab.carry",
        "lab.carry": "def late():\n    import lab.science.hidden",
        "lab.science.__init__": "",
        "lab.science.loss": "from lab.science import sums\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import lab.science.unused",
        "lab.science.sums": "",
        "lab.science.hidden": "",
        "lab.science.unused": "",
    }
    write(tmp_path, files)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_code_that_only_carries_does_not_count_and_hides_nothing(lab: Path) -> None:
    before = code_digest(["lab.stage"], ["lab.science"])
    assert list(before) == ["lab.science", "lab.science.hidden", "lab.science.loss", "lab.science.sums", "lab.stage"]
    write(lab, {"lab.carry": "def late():\n    import lab.science.hidden\n    return 'changed'"})
    assert code_digest(["lab.stage"], ["lab.science"]) == before
    for name in ("sums", "hidden"):
        write(lab, {f"lab.science.{name}": "total = 1"})
        after = code_digest(["lab.stage"], ["lab.science"])
        assert {module for module in after if after[module] != before[module]} == {f"lab.science.{name}"}
        before = after


def test_what_is_imported_for_types_alone_does_not_count(lab: Path) -> None:
    before = code_digest(["lab.stage"], ["lab.science"])
    assert "lab.science.unused" not in before
    write(lab, {"lab.science.sums": "if x:\n    import lab.science.unused"})
    assert "lab.science.unused" in code_digest(["lab.stage"], ["lab.science"])


def test_a_room_is_no_prefix_of_letters(tmp_path: Path) -> None:
    write(tmp_path, {"lab.__init__": "", "lab.stage": "import lab.sciences", "lab.sciences": ""})
    assert list(code_digest(["lab.stage"], ["lab.science"], [str(tmp_path)])) == ["lab.stage"]


def test_the_code_of_another_folder_is_read_where_it_is(tmp_path: Path) -> None:
    for name, text in (("old", "x = 1"), ("new", "x = 2")):
        write(tmp_path / name, {"lab.__init__": "", "lab.stage": text})
    old, new = (code_digest(["lab.stage"], ["lab"], [str(tmp_path / name)]) for name in ("old", "new"))
    assert old["lab.stage"] != new["lab.stage"]


def test_a_source_digest_changes_with_every_letter_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"lab.__init__": "", "lab.a": "x = 1\n"})
    monkeypatch.syspath_prepend(tmp_path)
    seen = {source_digest("lab")}
    write(tmp_path, {"lab.a": "x = 1  # why\n"})
    seen.add(source_digest("lab"))
    (tmp_path / "lab/a.py").rename(tmp_path / "lab/b.py")
    seen.add(source_digest("lab"))
    assert len(seen) == 3
    with pytest.raises(UnbrokenError, match="Package nowhere was not found"):
        source_digest("nowhere")
