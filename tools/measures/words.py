"""Names, lengths and texts.

Definitions, as they give the figures of commit fcc0964 that this project set out from:

- *One word*: of the public functions at module level (methods are not counted; every `@overload` is), those without an
  underscore in their name. 334 of 533 = 62.7 % ("63 %"); with methods it would be 70 %. Without their tests, submitit
  1.5.4 has 2 of 22 = 9 %, equinox 0.13.8 15 of 134 = 11 %, nanochat 4 of 54 = 7 %.
- *Defined twice*: of the definitions of public functions and classes at module level (a name counts once per module
  that defines it), those whose name several modules define. `main` is left out: it is the same thing in each command.
  159 of 706 = 22.5 % ("23 %"); submitit, equinox and nanochat 0 %. Counted as distinct names, it would be 10 %.
- *Imports inside functions*: statements, of any origin: 130, of which 110 name a module of this project.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from tools.measures.sources import FUNCTIONS, Function, Module, walk_functions

DIALECTS = ("To go on:", "Next:")
"""How messages name the next command; one of them is enough."""
WATCHED = ("found", "one")
"""Names that stood for anything."""
PATTERN_CALLS = {"compile", "search", "match", "fullmatch", "findall", "finditer", "split", "sub", "subn"}


def public_functions(module: Module) -> list[str]:
    """Names of the public functions at module level."""
    return [node.name for node in module.tree.body if isinstance(node, FUNCTIONS) and not node.name.startswith("_")]


def public_names(module: Module) -> set[str]:
    """Names of the public functions, but `main`, and classes at module level."""
    classes = {node.name for node in module.tree.body if isinstance(node, ast.ClassDef)}
    names = classes | set(public_functions(module)) - {"main"}
    return {name for name in names if not name.startswith("_")}


def one_word_functions(module: Module) -> list[str]:
    """Names of its public functions that are one word."""
    return [name for name in public_functions(module) if "_" not in name]


def names_with_homes(modules: Iterable[Module]) -> dict[str, list[str]]:
    """Each public name with the modules that define it."""
    homes = defaultdict(list)
    for module in modules:
        for name in sorted(public_names(module)):
            homes[name].append(module.name)
    return dict(homes)


def measure_words(modules: Sequence[Module]) -> dict[str, object]:
    """The one-word functions and the names defined twice, as counts and shares."""
    functions = sum(len(public_functions(module)) for module in modules)
    homes = names_with_homes(modules).values()
    twice = [where for where in homes if len(where) > 1]
    return {
        "one_word": share(sum(len(one_word_functions(module)) for module in modules), functions),
        "defined_twice": share(sum(map(len, twice)), sum(map(len, homes))),
        "distinct_defined_twice": share(len(twice), len(homes)),
    }


def share(count: int, whole: int) -> dict[str, float]:
    """A count, what it is a part of, and the percentage."""
    return {"count": count, "of": whole, "percent": round(100 * count / whole, 1) if whole else 0.0}


def function_length(node: Function) -> int:
    """Lines of a function from its `def`, decorators and docstring left out."""
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    return end_of(node) - node.lineno + 1 - (end_of(docstring) - docstring.lineno + 1 if docstring else 0)


def end_of(node: ast.stmt) -> int:
    """The last line of a parsed statement."""
    return node.end_lineno or node.lineno


def measure_lengths(modules: Sequence[Module]) -> dict[str, object]:
    """Lengths of functions (methods and inner ones too) and of files."""
    functions = {
        f"{module.path}:{node.lineno} {node.name}": function_length(node) for module, node in walk_functions(modules)
    }
    files = {str(module.path): module.line_count for module in modules}
    lengths = sorted(functions.values()) or [0]
    return {
        "functions": {"median": median(lengths), "p90": lengths[int(0.9 * len(lengths))], "max": lengths[-1]},
        "files": {"median": median(files.values() or [0]), "max": max(files.values(), default=0)},
        "long_functions": {name: length for name, length in functions.items() if length > 60},
        "long_files": {name: length for name, length in files.items() if length > 400},
    }


def measure_texts(modules: Sequence[Module]) -> dict[str, object]:
    """How often watched names and the dialects of messages occur, and which modules of the report use patterns."""
    nodes = [node for module in modules for node in ast.walk(module.tree)]
    names = Counter(identifier(node) for node in nodes)
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {
        "identifiers": {name: names[name] for name in WATCHED},
        "words": {name: sum(len(re.findall(rf"\b{name}\b", module.text)) for module in modules) for name in WATCHED},
        "dialects": {dialect: sum(dialect in text for text in strings) for dialect in DIALECTS},
        "patterns": {module.name: count_patterns(module) for module in modules if parses_text(module)},
    }


def identifier(node: ast.AST) -> str | None:
    """The name that a node writes: a variable, a parameter, or the keyword of a call."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.keyword(arg=name):
            return name
    return None


def parses_text(module: Module) -> bool:
    """Whether a module of the report uses regular expressions: a hint that it may parse LaTeX."""
    return module.name.startswith("latentwire.reporting") and any(
        isinstance(node, ast.Import) and any(alias.name == "re" for alias in node.names)
        for node in ast.walk(module.tree)
    )


def count_patterns(module: Module) -> int:
    """Calls of `re` that take a pattern."""
    calls = (node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    return sum(
        isinstance(call, ast.Attribute)
        and isinstance(call.value, ast.Name)
        and call.value.id == "re"
        and call.attr in PATTERN_CALLS
        for call in calls
    )
