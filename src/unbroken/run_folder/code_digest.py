"""Which source files define a module's results, found by reading, never by importing; and digests of what they do."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from unbroken.errors import UnbrokenError

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_NO_MEANING = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


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
        Module → `syntax_digest` of its file, sorted.

    Raises:
        UnbrokenError: One of `modules` cannot be found.
    """
    for module in modules:
        if _find(module, path) is None:
            raise UnbrokenError(f"Module {module} was not found on the import path. Next: check its spelling.")
    packages = {name.partition(".")[0] for name in (*modules, *rooms)}
    sources = sorted(_sources(modules, packages, path))
    return {name: syntax_digest(code) for name, code in sources if name in modules or _lies_in(name, rooms)}


@lru_cache(maxsize=512)
def syntax_digest(source: bytes) -> str:
    """64 hex of a source file's syntax tree, without comments, docstrings and layout.

    It is the same in every version of Python that reads the file: fields that are empty are left out, since newer
    versions add such. Raises SyntaxError.
    """
    tree = json.dumps(_meaning(ast.parse(source)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(tree.encode()).hexdigest()


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


def _sources(
    modules: Sequence[str], packages: Container[str], path: Sequence[str] | None
) -> Iterator[tuple[str, bytes]]:
    """Every module of `packages` that `modules` import, directly or not, and the content of its file."""
    waiting = [name for module in modules for name in _with_parents(module)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        follows = name not in seen and name.partition(".")[0] in packages
        seen.add(name)
        spec = _find(name, path) if follows else None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        source = Path(spec.origin).read_bytes()
        yield name, source
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        for imported in _imports(ast.parse(source, filename=spec.origin), package):
            waiting.extend(_with_parents(imported))


def _meaning(node: object) -> object:
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _NO_MEANING)
        kept = {name: _meaning(_undocumented(node, name, value)) for name, value in fields}
        return [type(node).__name__, {name: value for name, value in kept.items() if value not in (None, [])}]
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    if node is None or isinstance(node, str):  # its repr depends on which letters a version of Python knows
        return node
    return [type(node).__name__, repr(node)]


def _undocumented(node: ast.AST, name: str, value: object) -> object:
    if name == "body" and isinstance(node, _DOCUMENTED) and isinstance(value, list):
        return [statement for statement in value if not _is_text(statement)]
    return value


def _is_text(statement: object) -> bool:
    # Not only the first: a string below an attribute is its documentation, and no string alone does anything.
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


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


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            # `from package import name`: the name may be a module of its own.
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif not _is_for_types(node):
            yield from _imports(node, package)


def _is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:` without an else, which never runs."""
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
