"""The Python files of a checkout, parsed once: which module each is, and which room it stands in."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """One parsed file of a package."""

    name: str
    """Dotted; a package's `__init__.py` carries the package's name."""
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, str(self.path))

    @property
    def is_package(self) -> bool:
        """Whether this is an `__init__.py`."""
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str:
        """The direct child of the top package that this module is, or stands in; empty for the roof itself."""
        return room_of(self.name)

    @property
    def line_count(self) -> int:
        """Lines of the file."""
        return len(self.text.splitlines())


def room_of(name: str) -> str:
    """The second part of a dotted name. `__init__` and `__main__` of a top package are no rooms."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__main__" else ""


def read_modules(root: Path, packages: Sequence[str]) -> list[Module]:
    """Every module of some packages, tests beside the code left out (submitit has them; they are not its API).

    Raises:
        FileNotFoundError: A package stands neither in `root/src` nor in `root`.
    """
    return [read_module(path, folder.parent) for folder in find_packages(root, packages) for path in list_files(folder)]


def find_packages(root: Path, packages: Sequence[str]) -> Iterator[Path]:
    """The folder of each package: `root/src/NAME`, else `root/NAME`."""
    for package in packages:
        folders = [folder for folder in (root / "src" / package, root / package) if folder.is_dir()]
        if not folders:
            raise FileNotFoundError(f"No package {package} in {root} or its src. Next: give --root and --packages.")
        yield folders[0]


def list_files(folder: Path) -> Iterable[Path]:
    """The Python files below a folder, in order, without tests."""
    return (path for path in sorted(folder.rglob("*.py")) if not path.name.startswith(("test_", "conftest")))


def read_module(path: Path, above: Path) -> Module:
    """Read one file. `above` is the folder that its package stands in."""
    parts = list(path.relative_to(above).with_suffix("").parts)
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path.relative_to(above), path.read_text(encoding="utf-8"))


def walk_functions(modules: Iterable[Module]) -> Iterator[tuple[Module, Function]]:
    """Every function with its module: also methods and those inside others."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, FUNCTIONS):
                yield module, node
