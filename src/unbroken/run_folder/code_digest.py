"""Which source files a module runs, found by reading, never by importing."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from unbroken.errors import UnbrokenError


def code_digest(modules: Sequence[str], packages: Sequence[str]) -> dict[str, str]:
    """SHA-256 of every source file of `packages` that `modules` import, directly or not: {module: 64 hex}.

    Imports inside functions count, and so do the packages above a module, whose `__init__` runs too. Imports by
    a computed name (`import_module(f"...")`) are not seen: list such modules yourself.
    Raises UnbrokenError when one of `modules` cannot be found.
    """
    digests: dict[str, str] = {}
    waiting = [name for module in modules for name in _with_parents(module)]
    for module in modules:
        if _find(module) is None:
            raise UnbrokenError(f"Module {module} was not found on the import path. Next: check its spelling.")
    while waiting:
        name = waiting.pop()
        spec = _find(name) if name not in digests and name.split(".")[0] in packages else None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        source = Path(spec.origin).read_bytes()
        digests[name] = hashlib.sha256(source).hexdigest()
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        for imported in _imports(ast.parse(source, filename=spec.origin), package):
            waiting.extend(_with_parents(imported))
    return dict(sorted(digests.items()))


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _find(module: str) -> ModuleSpec | None:
    # importlib.util.find_spec would import the parent package; PathFinder only looks.
    locations: list[str] | None = None
    spec: ModuleSpec | None = None
    for name in _with_parents(module):
        spec = PathFinder.find_spec(name, locations)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or ())
    return spec


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            # `from package import name`: the name may be a module of its own.
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
