"""Who imports whom: between rooms, in circles, upwards, and inside functions.

An import inside a function counts as an import at run time: it hides a circle, it does not undo it. An import below
`if TYPE_CHECKING:` is one for types only. Importing a module is not counted as importing the packages above it.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.measures.sources import FUNCTIONS, Module, room_of

Edge = tuple[str, str]
"""The importer and the imported, by name."""
Rung = tuple[frozenset[str], bool]
"""Modules of one layer, and whether they may import one another."""
Statement = ast.Import | ast.ImportFrom
FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@dataclass(frozen=True)
class Import:
    """One import statement."""

    source: str
    path: Path
    line: int
    text: str
    targets: tuple[str, ...]
    """The modules of this project that it names."""
    for_types: bool
    in_function: bool


def list_imports(modules: Sequence[Module]) -> list[Import]:
    """Every import statement of some modules, in the order of the files."""
    known = {module.name for module in modules}
    return [
        Import(module.name, module.path, node.lineno, ast.unparse(node), targets, for_types, in_function)
        for module in modules
        for node, for_types, in_function in walk_imports(module.tree)
        for targets in [tuple(dict.fromkeys(resolve_targets(node, module, known)))]
    ]


def walk_imports(
    node: ast.AST, for_types: bool = False, in_function: bool = False
) -> Iterator[tuple[Statement, bool, bool]]:
    """Each import below a node: is it for types only, is it inside a function."""
    if isinstance(node, Statement):
        yield node, for_types, in_function
        return
    inside = in_function or isinstance(node, FUNCTIONS)
    typed = node.body if isinstance(node, ast.If) and ast.unparse(node.test) in FOR_TYPES else []
    for child in ast.iter_child_nodes(node):
        yield from walk_imports(child, for_types or child in typed, inside)


def resolve_targets(node: Statement, module: Module, known: Collection[str]) -> Iterator[str]:
    """The modules among `known` that a statement names: of `from a import b`, `a.b` if it is one, else `a`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
        return
    base = resolve_base(node, module)
    names = (f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names)
    yield from (name for name in names if name in known)


def resolve_base(node: ast.ImportFrom, module: Module) -> str:
    """The absolute name of what stands between `from` and `import`."""
    parts = module.name.split(".")
    above = parts[: len(parts) - node.level + module.is_package] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def module_edges(imports: Iterable[Import], types: bool) -> set[Edge]:
    """Which module imports which; with or without the imports that are for types only."""
    return {
        (statement.source, target)
        for statement in imports
        if types or not statement.for_types
        for target in statement.targets
        if target != statement.source
    }


def room_edges(edges: Iterable[Edge], package: str) -> set[Edge]:
    """Which room of a package imports which other."""
    inside = (edge for edge in edges if all(name.split(".")[0] == package for name in edge))
    pairs = ((room_of(source), room_of(target)) for source, target in inside)
    return {(source, target) for source, target in pairs if source and target and source != target}


def find_circles(edges: Collection[Edge]) -> list[list[str]]:
    """The strongly connected components of more than one name, each in order."""
    ahead = defaultdict(set)
    for source, target in edges:
        ahead[source].add(target)
    reached = {name: reach_from(name, ahead) for name in list(ahead)}
    groups = {frozenset(other for other in reached[name] if name in reached.get(other, ())) for name in reached}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def reach_from(name: str, ahead: dict[str, set[str]]) -> set[str]:
    """All that a name leads to, itself only if it stands in a circle."""
    reached: set[str] = set()
    queue = [name]
    while queue:
        new = ahead.get(queue.pop(), set()) - reached
        reached |= new
        queue.extend(new)
    return reached


def read_ladders(root: Path) -> list[list[Rung]]:
    """The layer order: each `layers` contract of import-linter in pyproject.toml, once per container, highest first."""
    file = root / "pyproject.toml"
    settings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", [])
    return [
        [parse_rung(layer, container) for layer in contract["layers"]]
        for contract in contracts
        if contract.get("type") == "layers"
        for container in contract.get("containers", [""])
    ]


def parse_rung(layer: str, container: str) -> Rung:
    """One layer: `a`, `(a)` if it may be missing, `a | b` if neither may import the other, `a : b` if both may."""
    names = (part.strip(" ()") for part in layer.replace("|", ":").split(":"))
    return frozenset(f"{container}.{name}" if container else name for name in names), "|" not in layer


def find_upward(edges: Iterable[Edge], ladders: Iterable[list[Rung]]) -> list[Edge]:
    """The imports of a higher layer by a lower one, and those between neighbours that are to be independent."""
    return sorted({edge for ladder in ladders for edge in edges if is_upward(edge, ladder)})


def is_upward(edge: Edge, ladder: Sequence[Rung]) -> bool:
    """Whether an import runs against one layer order."""
    source, target = (locate(name, ladder) for name in edge)
    if source is None or target is None or source == target:
        return False
    return target[0] < source[0] or (target[0] == source[0] and not ladder[source[0]][1])


def locate(name: str, ladder: Sequence[Rung]) -> tuple[int, str] | None:
    """The number of a module's layer and the layer's own module; None where the contract says nothing of it."""
    places = [
        (number, layer)
        for number, (layers, _) in enumerate(ladder)
        for layer in layers
        if f"{name}.".startswith(f"{layer}.")
    ]
    return max(places, key=lambda place: len(place[1]), default=None)
