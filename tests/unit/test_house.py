"""The measures of the layout, on small trees whose figures are known; and the goals, on this checkout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.house import ROOT, main, measure_house, missed_goals

LAYERS = """
[tool.importlinter]
root_packages = ["pack"]

[[tool.importlinter.contracts]]
name = "layers"
type = "layers"
containers = ["pack"]
layers = ["top", "left | right", "(ground)"]
"""


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """A checkout whose package `pack` has these files, and an empty `__init__.py` in each folder."""
    for name, text in {"src/pack/__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in (path for path in (root / "src/pack").rglob("*") if path.is_dir()):
        (folder / "__init__.py").touch()
    return root


def measure_tree(root: Path, files: Mapping[str, str]) -> dict[str, Any]:
    """The figures of a tree."""
    return measure_house(write_tree(root, files), ["pack"])


def test_rooms_are_the_children_of_a_package(tmp_path: Path) -> None:
    """Neither `__init__` nor `__main__` is a room; two imports from one room to another count once."""
    figures = measure_tree(
        tmp_path,
        {
            "src/pack/__init__.py": "from pack import alone",
            "src/pack/__main__.py": "import pack.alone",
            "src/pack/alone.py": "import os",
            "src/pack/wing/a.py": "from ..alone import x\nfrom . import b",
            "src/pack/wing/b.py": "import pack.alone",
        },
    )
    assert figures["packages"]["pack"] == {"rooms": 2, "imports": 1, "types": 0}
    assert not any(figures["circles"].values())


def test_circles_between_rooms_need_no_circle_between_modules(tmp_path: Path) -> None:
    """One room imports another by one module and is imported back by a second."""
    files = {
        "src/pack/wing/a.py": "from pack import other",
        "src/pack/wing/b.py": "",
        "src/pack/other.py": "from pack.wing.b import x",
    }
    circles = measure_tree(tmp_path, files)["circles"]
    assert circles["rooms"] == [["pack.other", "pack.wing"]]
    assert circles["modules"] == []


def test_an_import_inside_a_function_does_not_undo_a_circle(tmp_path: Path) -> None:
    """Three modules in a circle, one of whose imports waits in a function."""
    files = {
        "src/pack/a.py": "from pack import b",
        "src/pack/b.py": "import pack.c",
        "src/pack/c.py": "def late():\n    from pack.a import x",
        "src/pack/d.py": "from pack import a",
    }
    circles = measure_tree(tmp_path, files)["circles"]
    assert circles["rooms"] == circles["modules"] == [["pack.a", "pack.b", "pack.c"]]


def test_imports_for_types_are_counted_apart(tmp_path: Path) -> None:
    """Under `if TYPE_CHECKING` but not in its `else`, nor under `if not TYPE_CHECKING`."""
    files = {
        "src/pack/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.b import B\n",
        "src/pack/b.py": "import typing\nif typing.TYPE_CHECKING:\n    pass\nelse:\n    from pack import a\n",
        "src/pack/c.py": "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    from pack import a\n",
    }
    figures = measure_tree(tmp_path, files)
    assert figures["packages"]["pack"] == {"rooms": 3, "imports": 2, "types": 1}
    assert figures["circles"]["rooms"] == figures["circles"]["modules"] == []
    assert figures["circles"]["rooms_with_types"] == figures["circles"]["modules_with_types"] == [["pack.a", "pack.b"]]


def test_imports_upwards_are_read_from_the_contract(tmp_path: Path) -> None:
    """Down is allowed; up, and between neighbours that `|` makes independent, is not."""
    files = {
        "pyproject.toml": LAYERS,
        "src/pack/top.py": "from pack import left, ground",
        "src/pack/left/a.py": "from pack.left import b\nimport pack.right",
        "src/pack/left/b.py": "",
        "src/pack/right.py": "from pack import ground",
        "src/pack/ground.py": "from typing import TYPE_CHECKING\nfrom pack import top\n"
        "if TYPE_CHECKING:\n    from pack import right",
        "src/pack/unranked.py": "from pack import top",
    }
    figures = measure_tree(tmp_path, files)
    assert figures["upward"] == ["pack.ground → pack.top", "pack.left.a → pack.right"]
    assert figures["upward_types"] == ["pack.ground → pack.right"]


def test_layers_without_a_container_are_full_names(tmp_path: Path) -> None:
    """`:` parts neighbours that may import one another."""
    contract = '[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["pack.a : pack.b", "pack.c"]\n'
    files = {"pyproject.toml": contract, "src/pack/a.py": "from pack import b", "src/pack/b.py": "import pack.a"}
    assert measure_tree(tmp_path, {**files, "src/pack/c.py": "from pack import b"})["upward"] == ["pack.c → pack.b"]


def test_without_a_contract_there_is_no_upwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkout from before the contract is measured all the same, but does not pass."""
    root = write_tree(tmp_path, {"pyproject.toml": "[project]\nname = 'pack'\n"})
    assert main(["--root", str(root), "--packages", "pack", "--check"]) == 1
    printed = capsys.readouterr()
    assert "no contract" in printed.out
    assert "Next: add one of type `layers`" in printed.err


def test_one_word_functions_are_public_and_at_module_level(tmp_path: Path) -> None:
    """Methods, private, inner and two-word functions are none; a test file beside the code is not read."""
    source = """
def save(): ...
def load_run():
    def inner(): ...
async def main(): ...
def _hide(): ...
class Store:
    def keep(self): ...
"""
    figures = measure_tree(tmp_path, {"src/pack/a.py": source, "src/pack/test_a.py": "def works(): ..."})
    assert figures["one_word"] == {"count": 2, "of": 3, "percent": 66.7}


def test_names_defined_by_several_modules(tmp_path: Path) -> None:
    """Functions and classes at module level, `main` and private names left out."""
    source = "def main(): ...\ndef _hide(): ...\ndef save(): ...\nLIMIT = 3\n"
    files = {
        "src/pack/a.py": f"{source}class Store: ...",
        "src/pack/b.py": f"{source}def load(): ...",
        "src/pack/c.py": "class save: ...\nclass Other:\n    def load(self): ...",
    }
    figures = measure_tree(tmp_path, files)
    assert figures["defined_twice"] == {"count": 3, "of": 6, "percent": 50.0}
    assert figures["distinct_defined_twice"] == {"count": 1, "of": 4, "percent": 25.0}


def test_imports_inside_functions_are_statements_of_any_origin(tmp_path: Path) -> None:
    """Also in methods and inner functions, each once; not those in a class or a condition."""
    source = """
if True:
    import os
class A:
    import json
    def method(self):
        import re, pack.b
        def inner():
            from pack.b import x, y
"""
    assert measure_tree(tmp_path, {"src/pack/a.py": source, "src/pack/b.py": ""})["imports_in_functions"] == {
        "all": 2,
        "own": 2,
    }
    assert measure_tree(tmp_path, {"src/pack/a.py": "def late():\n    import re"})["imports_in_functions"]["own"] == 0


def test_lengths_leave_docstring_and_decorators_out(tmp_path: Path) -> None:
    """Lengths of two, three and 61 lines; a file of 401."""
    short = 'import functools\n@functools.cache\ndef a():\n    """Two\n    lines."""\n    return 1\n'
    middle = "class B:\n    async def b(self):\n        x = 1\n        return x\n"
    long = "def c():\n" + "    x = 1\n" * 60
    figures = measure_tree(tmp_path, {"src/pack/a.py": short + middle + long, "src/pack/b.py": "\n" * 401})
    assert figures["functions"] == {"median": 3, "p90": 61, "max": 61}
    assert figures["long_functions"] == {"pack/a.py:11 c": 61}
    assert figures["long_files"] == {"pack/b.py": 401}


def test_watched_names_and_dialects(tmp_path: Path) -> None:
    """Variables, parameters and keywords are identifiers; attributes and prose are not, but words of the text."""
    source = '''
def look(found, *, one=1):
    """The one that is found."""
    x.found = call(one=one)
    raise ValueError(f"{found} is bad. Next: mend it." if one else "Bad. To go on: mend it.")
'''
    figures = measure_tree(tmp_path, {"src/pack/a.py": source})
    assert figures["identifiers"] == {"found": 2, "one": 4}
    assert figures["words"] == {"found": 4, "one": 5}
    assert figures["dialects"] == {"To go on:": 1, "Next:": 1}


def test_patterns_of_the_report(tmp_path: Path) -> None:
    """Only modules below `latentwire.reporting` that import `re`."""
    source = "import re\nA = re.compile('a')\nB = re.sub('a', 'b', 'c')\nC = re.escape('a')\n"
    files = {"src/latentwire/reporting/a.py": source, "src/latentwire/b.py": source}
    write_tree(tmp_path, {**files, "src/latentwire/reporting/c.py": ""})
    assert measure_house(tmp_path, ["latentwire"])["patterns"] == {"latentwire.reporting.a": 2}


DVC = """
stages:
  prepare:
    cmd: exec python -m pack.stages.prepare
  train:
    matrix: {seed: [1]}
    cmd: exec python -m pack.stages.train --seed ${item.seed}
    deps: [a]
"""
STAGES = {
    "dvc.yaml": DVC,
    "src/pack/stages/prepare.py": "from pack.entry import run_main\ndef main(): ...\nrun_main(main)",
    "src/pack/stages/train.py": """
from pack.entry import run_main

def main():
    from pack.training import Training, Settings
    with Training(Settings()) as training:
        training.run()

if __name__ == "__main__":
    run_main(main)
""",
    "src/pack/entry.py": "def run_main(main):\n    def checked():\n        main()\n    checked()\n",
    "src/pack/training.py": """
from pack.loop import Loop
from pack.settings import Settings

class Base:
    loop: "Loop | None"
    def run(self):
        self.loop.walk()

class Training(Base):
    def __init__(self, settings: Settings): ...
    def __enter__(self): return self
""",
    "src/pack/settings.py": "class Settings: ...",
    "src/pack/loop.py": """
class Loop:
    def walk(self):
        for step in range(3):
            self.optimizer.step()
""",
}


def test_hops_follow_functions_that_are_handed_on_and_methods_of_known_objects(tmp_path: Path) -> None:
    """From the command in dvc.yaml, through what starts the stage, a class and its base, to the step."""
    way = measure_tree(tmp_path, STAGES)["hops"]
    assert way["path"] == [
        "pack.stages.train:",
        "pack.entry:run_main",
        "pack.stages.train:main",
        "pack.training:Base.run",
        "pack.loop:Loop.walk",
    ]
    assert (way["functions"], way["modules"]) == (5, 4)


def test_hops_do_not_pass_through_the_main_of_another_stage(tmp_path: Path) -> None:
    """What `prepare` hands to the common entry is not handed to it by `train`."""
    files = {**STAGES, "src/pack/stages/prepare.py": STAGES["src/pack/stages/train.py"]}
    way = measure_tree(tmp_path, {**files, "src/pack/stages/train.py": "from pack.entry import run_main\nrun_main(0)"})
    assert way["hops"] == {"functions": 0, "modules": 0, "path": []}


def test_lists_show_what_stands_behind_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each thing to work off."""
    root = write_tree(tmp_path, {"src/pack/a.py": "def save():\n    import os", "src/pack/b.py": "def save(): ..."})
    printed = {}
    for which in ("imports", "words", "names"):
        assert main(["--root", str(root), "--packages", "pack", "--list", which]) == 0
        printed[which] = capsys.readouterr().out
    assert printed["imports"] == "pack/a.py:2: import os\n"
    assert printed["words"] == "pack/a.py: save\npack/b.py: save\n"
    assert printed["names"] == "save: pack.a, pack.b\n"


def test_check_says_each_missed_goal(tmp_path: Path) -> None:
    """Everything missed at once; nothing missed by a tree that keeps the order."""
    late = "    import os\n" * 60
    bad = {
        "pyproject.toml": LAYERS,
        "src/pack/ground.py": f"from pack import top\ndef save():\n{late}",
        "src/pack/top.py": "from pack import ground\ndef save(): ...\n" + "\n" * 400,
    }
    sentences = missed_goals(measure_tree(tmp_path / "bad", bad))
    assert [sentence.partition(" Next: ")[0] for sentence in sentences] == [
        "Circles between rooms, types counted: 1 (goal 0): pack.ground, pack.top.",
        "Circles between modules, types counted: 1 (goal 0): pack.ground, pack.top.",
        "Imports upwards: 1 (goal 0): pack.ground → pack.top.",
        "One-word public functions: 100 % (goal < 25 %).",
        "Public names defined by several modules: 100 % (goal < 8 %).",
        "Imports inside functions: 60 (goal < 60).",
        "Files over 400 lines: 1 (goal 0): pack/top.py.",
        "Lines of the median function: 31 (goal < 8).",
    ]
    assert all(" Next: " in sentence for sentence in sentences)
    good = {"pyproject.toml": LAYERS, "src/pack/top.py": "from pack import ground", "src/pack/ground.py": ""}
    assert missed_goals(measure_tree(tmp_path / "good", good)) == []


def test_json_holds_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures as `measure_house`."""
    root = write_tree(tmp_path, STAGES)
    assert main(["--root", str(root), "--packages", "pack", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == measure_house(root, ["pack"])


def test_an_unknown_package_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a traceback."""
    assert main(["--root", str(tmp_path)]) == 2
    assert "error: No package unbroken in " in capsys.readouterr().err


def test_this_checkout_reaches_the_goals() -> None:
    """What `python tools/house.py --check` says of it."""
    assert missed_goals(measure_house(ROOT)) == []
