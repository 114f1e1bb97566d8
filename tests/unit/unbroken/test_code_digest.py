"""The digest of code: what it follows, and what it leaves out."""

from __future__ import annotations

import ast
import py_compile
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from unbroken.errors import UnbrokenError
from unbroken.run_folder.code_digest import code_digest, source_digest
from unbroken.run_folder.syntax_digest import syntax_digest

PLAIN = """
class Loss:
    scale: float = 2.0

    def __call__(self, x):
        return f"{x!r:>{self.scale}}", -1.5e-3, b"\\x00", ..., None, [y async for y in x]
"""

GOLDEN = "b33ef5c8bdb578b3826868cec618edcb3a425d8fe24a3a099ce61a9d299c9969"


def digest(text: str) -> str:
    return syntax_digest(ast.parse(textwrap.dedent(text)))


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


def test_where_code_that_only_carries_stands_is_no_part_of_what_the_science_does(lab: Path) -> None:
    texts = (
        "import lab.carry\nfrom lab.carry import late\nfrom lab import carry, science\nx = late()",
        "import lab.moved\nfrom lab.moved import late\nfrom lab import moved, science\nx = late()",
        "from lab import moved, science, stage\nx = late()",
        "from lab.science import late\nfrom lab import science\nx = late()",
    )
    seen = []
    for text in texts:
        write(lab, {"lab.science.sums": text, "lab.moved": ""})
        seen.append(code_digest(["lab.stage"], ["lab.science"])["lab.science.sums"])
    assert seen[0] == seen[1]
    assert len(set(seen[1:])) == 3  # but what it takes from a stage or from the science is


@pytest.mark.parametrize(
    "content", [b"def (:\n", b"x = '\xff'\n", b"x = 1\0\n"], ids=["syntax", "letters", "a zero byte"]
)
def test_code_that_cannot_be_read_is_named(lab: Path, content: bytes) -> None:
    (lab / "lab/science/sums.py").write_bytes(content)
    with pytest.raises(UnbrokenError, match=r"The code of lab\.science\.sums was expected as source in .*sums\.py"):
        code_digest(["lab.stage"], ["lab.science"])


def test_compiled_code_without_its_source_is_refused(lab: Path) -> None:
    source = lab / "lab/science/sums.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    with pytest.raises(UnbrokenError, match=r"The code of lab\.science\.sums was expected as source in .*sums\.pyc"):
        code_digest(["lab.stage"], ["lab.science"])


def test_pieces_of_text_in_an_f_string_are_one() -> None:
    pieces = ast.parse("f'{x:>{w}}b'")
    joined = next(node for node in ast.walk(pieces) if isinstance(node, ast.JoinedStr))
    joined.values = [ast.Constant(""), *joined.values[:-1], ast.Constant("b"), ast.Constant("")]
    assert syntax_digest(pieces) == digest("f'{x:>{w}}b'")
    assert syntax_digest(ast.parse("f'{x:>{w}}c'")) != digest("f'{x:>{w}}b'")


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
