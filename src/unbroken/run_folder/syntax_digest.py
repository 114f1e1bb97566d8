"""What a source file does, as a digest: its syntax tree without comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_NO_MEANING = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def syntax_digest(tree: ast.Module, package: str = "", carries: Callable[[str], bool] | None = None) -> str:
    """64 hex of a syntax tree, which is consumed.

    It is the same in every version of Python that reads the file: fields that are empty are left out, since newer
    versions add such, and neighbouring pieces of text in an f-string are one.

    Args:
        tree: From `ast.parse`.
        package: What relative imports count from.
        carries: Whether a module only carries results. Where such a module stands is no part of what the file does,
            so its imports are left out.
    """
    meaning = _meaning(_Pruner(package, carries or _carries_nothing).visit(tree))
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def imported_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """What a file imports when it runs, also inside functions; for `from a import b` both `a` and `a.b`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            # `from package import name`: the name may be a module of its own.
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif not _is_for_types(node):
            yield from imported_modules(node, package)


def _carries_nothing(_module: str) -> bool:
    return False


class _Pruner(ast.NodeTransformer):
    """Takes away what does nothing: blocks for types, and imports of what only carries."""

    def __init__(self, package: str, carries: Callable[[str], bool]) -> None:
        self._package, self._carries = package, carries

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if _is_for_types(node) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return self._keep(node, [alias for alias in node.names if not self._carries(alias.name)])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        base = _absolute(node, self._package)
        if not self._carries(base):
            return node
        return self._keep(node, [alias for alias in node.names if not self._carries(f"{base}.{alias.name}")])

    def _keep(self, node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> ast.AST | None:
        node.names = names
        return node if names else None


def _is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:` without an else, which never runs."""
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _meaning(node: object) -> object:
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _NO_MEANING)
        kept = {name: _meaning(_plain(node, name, value)) for name, value in fields}
        return [type(node).__name__, {name: value for name, value in kept.items() if value not in (None, [])}]
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    if node is None or isinstance(node, str):  # its repr depends on which letters a version of Python knows
        return node
    return [type(node).__name__, repr(node)]


def _plain(node: ast.AST, name: str, value: object) -> object:
    if name == "body" and isinstance(node, _DOCUMENTED) and isinstance(value, list):
        # Not only the first: a string below an attribute is its documentation, and no string alone does anything.
        return [item for item in value if not (isinstance(item, ast.Expr) and _text(item.value) is not None)]
    if name == "values" and isinstance(node, ast.JoinedStr) and isinstance(value, list):
        return list(_joined(value))
    return value


def _joined(values: Sequence[ast.expr]) -> Iterator[ast.expr]:
    for is_text, group in groupby(values, key=lambda value: _text(value) is not None):
        pieces = list(group)
        if not is_text:
            yield from pieces
        elif text := "".join(_text(piece) or "" for piece in pieces):
            yield ast.Constant(text)


def _text(node: object) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
