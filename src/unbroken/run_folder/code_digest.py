"""Which source files define a module's results, found by reading, never by importing; and digests of what they do."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from unbroken.errors import UnbrokenError
from unbroken.run_folder.syntax_digest import imported_modules, syntax_digest


def code_digest(modules: Sequence[str], rooms: Sequence[str], path: Sequence[str] | None = None) -> dict[str, str]:
    """Digest of what every source file does that `modules` import, directly or not, within `rooms`.

    Imports inside functions count, those below `if TYPE_CHECKING:` do not, and the packages above a module do, whose
    `__init__` runs too. Imports by a computed name (`import_module(f"...")`) are not seen: list such modules yourself.

    Args:
        modules: Where the reading starts. They count wherever they are.
        rooms: Packages or modules, such as `project.training`. Other modules of the same distributions are followed,
            since they may lead to a room, and do not count: they carry the results and do not define them.
        path: Folders that are searched for modules, instead of `sys.path`.

    Returns:
        Module → digest of its syntax tree without comments, docstrings and imports of what only carries; sorted.

    Raises:
        UnbrokenError: One of `modules` cannot be found, or the source of one that counts cannot be read.
    """

    def counts(name: str) -> bool:
        return name in modules or _lies_in(name, rooms)

    def carries(name: str) -> bool:
        return name.partition(".")[0] in packages and not counts(name)

    for module in modules:
        if _find(module, path) is None:
            raise UnbrokenError(f"Module {module} was not found on the import path. Next: check its spelling.")
    packages = {name.partition(".")[0] for name in (*modules, *rooms)}
    found = sorted(_sources(modules, packages, path), key=lambda source: source.module)
    counted = [source for source in found if counts(source.module)]
    return {source.module: syntax_digest(source.parse(), source.package, carries) for source in counted}


@dataclass(frozen=True)
class _Source:
    module: str
    package: str
    """What its relative imports count from."""
    file: str

    def parse(self) -> ast.Module:
        try:
            return ast.parse(Path(self.file).read_bytes(), filename=self.file)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnbrokenError(
                f"The code of {self.module} was expected as source in {self.file}, and could not be read: {error}. "
                "Next: mend that file, or install the package unpacked and with its sources."
            ) from None


def source_digest(package: str) -> str:
    """64 hex over the bytes of every source file of an installed package: its version, to the last comment.

    Raises:
        UnbrokenError: There is no such package.
    """
    spec = _find(package, None)
    folder = spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None
    if folder is None:
        raise UnbrokenError(f"Package {package} was not found on the import path. Next: check its spelling.")
    total = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*.py")):
        name, content = file.relative_to(folder).as_posix(), file.read_bytes()
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def _sources(modules: Sequence[str], packages: Container[str], path: Sequence[str] | None) -> Iterator[_Source]:
    """Every module of `packages` that `modules` import, directly or not."""
    waiting = [name for module in modules for name in _with_parents(module)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        follows = name not in seen and name.partition(".")[0] in packages
        seen.add(name)
        spec = _find(name, path) if follows else None
        if spec is None or spec.origin is None:  # a name that is no module, or a package without a file
            continue
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        source = _Source(name, package, spec.origin)
        yield source
        for imported in imported_modules(source.parse(), package):
            waiting.extend(_with_parents(imported))


def _lies_in(name: str, rooms: Sequence[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _find(module: str, path: Sequence[str] | None) -> ModuleSpec | None:
    # importlib.util.find_spec would import the parent package; PathFinder only looks.
    locations = None if path is None else list(path)
    spec: ModuleSpec | None = None
    for name in _with_parents(module):
        spec = PathFinder.find_spec(name, locations)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or ())
    return spec
