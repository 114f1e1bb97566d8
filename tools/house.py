"""`python tools/house.py [--root DIR] [--json] [--check] [--list imports|words|names]`: how easily one finds the way.

Measures a checkout of this project, this one or an older one: rooms, circles, imports upwards, names, lengths. What
each figure counts is defined in `tools/measures/`. The layer order is that of import-linter's `layers` contracts in
pyproject.toml, and of nothing else. `--check` exits with 1 and says which goal is missed. `--list` prints what stands
behind a figure, to work off: imports inside functions, one-word functions, names that several modules define.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Started as a file, Python looks for modules beside it, not where `tools` stands.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.measures import hops, imports, words
from tools.measures.sources import Module, read_modules

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("unbroken", "latentwire")
Figures = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """One goal: the figure, whether it is good enough, what to say if it is not."""

    figure: Callable[[Figures], Any]
    """A number, or the list of what should not be there."""
    limit: float
    """The figure has to be below it."""
    sentence: str


GOALS = (
    Goal(
        lambda f: f["circles"]["rooms_with_types"],
        1,
        "Circles between rooms, types counted: {} (goal 0): {}. Next: move what closes each down, or apart.",
    ),
    Goal(
        lambda f: f["circles"]["modules_with_types"],
        1,
        "Circles between modules, types counted: {} (goal 0): {}. Next: move what closes each down, or apart.",
    ),
    Goal(lambda f: f["upward"], 1, "Imports upwards: {} (goal 0): {}. Next: move what is imported down."),
    Goal(
        lambda f: f["one_word"]["percent"],
        25,
        "One-word public functions: {} % (goal < 25 %). Next: python tools/house.py --list words.",
    ),
    Goal(
        lambda f: f["defined_twice"]["percent"],
        8,
        "Public names defined by several modules: {} % (goal < 8 %). Next: python tools/house.py --list names.",
    ),
    Goal(
        lambda f: f["imports_in_functions"]["all"],
        60,
        "Imports inside functions: {} (goal < 60). Next: python tools/house.py --list imports.",
    ),
    Goal(lambda f: f["long_files"], 1, "Files over 400 lines: {} (goal 0): {}. Next: divide each."),
    Goal(
        lambda f: f["functions"]["median"],
        8,
        "Lines of the median function: {} (goal < 8). Next: name the parts of the longest.",
    ),
)


def measure_house(root: Path, packages: Sequence[str] = PACKAGES) -> Figures:
    """All figures of a checkout."""
    modules = read_modules(root, packages)
    return {
        **measure_imports(root, modules, packages),
        **words.measure_words(modules),
        **words.measure_lengths(modules),
        **words.measure_texts(modules),
        "hops": hops.measure_hops(root, modules),
    }


def measure_imports(root: Path, modules: Sequence[Module], packages: Sequence[str]) -> Figures:
    """Rooms, circles, imports upwards and imports inside functions."""
    statements = imports.list_imports(modules)
    run, every = (imports.module_edges(statements, types) for types in (False, True))
    inside = [statement for statement in statements if statement.in_function]
    return {
        "packages": {name: measure_rooms(name, modules, run, every) for name in packages},
        "circles": {
            "rooms": [circle for name in packages for circle in room_circles(run, name)],
            "rooms_with_types": [circle for name in packages for circle in room_circles(every, name)],
            "modules": imports.find_circles(run),
            "modules_with_types": imports.find_circles(every),
        },
        **measure_upward(root, run, every),
        "imports_in_functions": {"all": len(inside), "own": sum(bool(statement.targets) for statement in inside)},
    }


def room_circles(edges: set[imports.Edge], package: str) -> list[list[str]]:
    """The circles between the rooms of a package, with the package's name."""
    circles = imports.find_circles(imports.room_edges(edges, package))
    return [[f"{package}.{room}" for room in circle] for circle in circles]


def measure_rooms(
    package: str, modules: Sequence[Module], run: set[imports.Edge], every: set[imports.Edge]
) -> dict[str, int]:
    """The rooms of a package, and the imports between them; `types`: those that are there for types only."""
    rooms = {module.room for module in modules if module.name.split(".")[0] == package} - {""}
    running, known = (imports.room_edges(edges, package) for edges in (run, every))
    return {"rooms": len(rooms), "imports": len(running), "types": len(known - running)}


def measure_upward(root: Path, run: set[imports.Edge], every: set[imports.Edge]) -> Figures:
    """The imports against the layer order; None where no contract gives one."""
    ladders = imports.read_ladders(root)
    if not ladders:
        return {"upward": None, "upward_types": None}
    upward = [imports.find_upward(edges, ladders) for edges in (run, every - run)]
    return {
        "upward": [" → ".join(edge) for edge in upward[0]],
        "upward_types": [" → ".join(edge) for edge in upward[1]],
    }


def missed_goals(figures: Figures) -> list[str]:
    """One sentence for each goal that is not reached."""
    verdicts = ((goal, goal.figure(figures)) for goal in GOALS)
    return [explain(goal, figure) for goal, figure in verdicts if figure is None or size(figure) >= goal.limit]


def size(figure: Any) -> float:
    """A number as it is, a list's length."""
    return figure if isinstance(figure, int | float) else len(figure)


def explain(goal: Goal, figure: Any) -> str:
    """The sentence of a missed goal."""
    if figure is None:
        return "No contract gives the layer order. Next: add one of type `layers` to pyproject.toml."
    items = [] if isinstance(figure, int | float) else [show(item) for item in figure]
    return goal.sentence.format(f"{size(figure):g}", "; ".join(items))


def show(item: str | Sequence[str]) -> str:
    """A name, or the names of a circle."""
    return item if isinstance(item, str) else ", ".join(item)


def table_rows(figures: Figures) -> Iterator[tuple[str, str]]:
    """What the table says, line by line."""
    for name, rooms in figures["packages"].items():
        yield f"{name}: rooms", f"{rooms['rooms']}"
        yield f"{name}: imports between rooms", f"{rooms['imports']} (and {rooms['types']} for types only)"
    yield from circle_rows(figures["circles"])
    yield "imports upwards", upward_cell(figures)
    yield "one-word public functions", share_cell(figures["one_word"])
    yield "public names defined by several modules", share_cell(figures["defined_twice"])
    yield "  the same, of distinct names", share_cell(figures["distinct_defined_twice"])
    yield (
        "imports inside functions",
        "{all} ({own} of this project's modules)".format(**figures["imports_in_functions"]),
    )
    yield from length_rows(figures)
    yield from text_rows(figures)
    yield "hops to optimizer.step()", hops_cell(figures["hops"])


def circle_rows(circles: dict[str, list[list[str]]]) -> Iterator[tuple[str, str]]:
    """The circles between rooms and between modules."""
    for kind, label in (("rooms", "between rooms"), ("modules", "between modules")):
        yield f"circles {label}", circle_cell(circles[kind])
        yield "  counting imports for types", circle_cell(circles[f"{kind}_with_types"])


def circle_cell(circles: list[list[str]]) -> str:
    """How many circles, and who stands in them."""
    return "; ".join([str(len(circles)), *map(show, circles)])


def upward_cell(figures: Figures) -> str:
    """How many imports run upwards, or that no contract says."""
    if figures["upward"] is None:
        return "no contract"
    count = f"{len(figures['upward'])} (and {len(figures['upward_types'])} for types only)"
    return "; ".join([count, *figures["upward"], *figures["upward_types"]])


def share_cell(share: dict[str, float]) -> str:
    """A share as `63 %, 334 of 533`."""
    return "{percent} % ({count} of {of})".format(**share)


def length_rows(figures: Figures) -> Iterator[tuple[str, str]]:
    """Lengths of functions and files."""
    yield "function length, median / p90 / max", "{median:g} / {p90} / {max}".format(**figures["functions"])
    yield "file length, median / max", "{median:g} / {max}".format(**figures["files"])
    yield "functions over 60 lines", show([str(len(figures["long_functions"])), *figures["long_functions"]])
    yield "files over 400 lines", show([str(len(figures["long_files"])), *figures["long_files"]])


def text_rows(figures: Figures) -> Iterator[tuple[str, str]]:
    """Watched names, dialects of messages, patterns of the report."""
    for name, count in figures["identifiers"].items():
        yield f"identifier `{name}`", f"{count} (word in the text: {figures['words'][name]})"
    for dialect, count in figures["dialects"].items():
        yield f'messages with "{dialect}"', str(count)
    patterns = figures["patterns"]
    named = [f"{name} {count}" for name, count in patterns.items()]
    yield "regular expressions in the report", show([f"{len(patterns)} modules, {sum(patterns.values())} uses", *named])


def hops_cell(way: Figures) -> str:
    """The path that is read, and its length."""
    if not way["path"]:
        return "no path found"
    return f"{way['functions']} functions, {way['modules']} modules: " + " → ".join(way["path"])


def list_lines(which: str, modules: Sequence[Module]) -> Iterator[str]:
    """The lines of `--list`: what stands behind a figure, to work off."""
    if which == "imports":
        inside = (statement for statement in imports.list_imports(modules) if statement.in_function)
        yield from (f"{statement.path}:{statement.line}: {statement.text}" for statement in inside)
    elif which == "words":
        named = ((module.path, words.one_word_functions(module)) for module in modules)
        yield from (f"{path}: {', '.join(names)}" for path, names in named if names)
    else:
        homes = sorted(words.names_with_homes(modules).items())
        yield from (f"{name}: {', '.join(where)}" for name, where in homes if len(where) > 1)


def report_list(options: argparse.Namespace) -> int:
    """Print what stands behind a figure; returns the exit code."""
    for line in list_lines(options.list, read_modules(options.root, options.packages)):
        print(line)
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to measure (default: this one)")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, help="packages in ROOT/src or ROOT")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 and a sentence for each goal that is missed")
    parser.add_argument("--list", choices=("imports", "words", "names"), help="print what stands behind a figure")
    return parser.parse_args(argv)


def report_figures(options: argparse.Namespace) -> int:
    """Print the figures as a table or as JSON, and check the goals; returns the exit code."""
    figures = measure_house(options.root, options.packages)
    if options.json:
        print(json.dumps(figures, indent=1, ensure_ascii=False))
    else:
        print("\n".join(f"{label:<42} {value}" for label, value in table_rows(figures)))
    missed = missed_goals(figures) if options.check else []
    print(*missed, sep="\n", end="\n" if missed else "", file=sys.stderr)
    return int(bool(missed))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parse_arguments(argv)
    try:
        return report_figures(options) if options.list is None else report_list(options)
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
