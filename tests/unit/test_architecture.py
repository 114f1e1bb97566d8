"""docs/architecture.md says what is in the repository: rooms, objects, paths, tests, invariants and events."""

from __future__ import annotations

import ast
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.event_calls import base_fields, read_event_calls

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGES = ("unbroken", "latentwire")
FOLDERS = ("src", "slurm", "tests", "docs", "tools", "benchmarks")
NOT_IN_GIT = "slurm/site.env"
FILES_OF_THE_ROOT = (".yaml", ".toml", ".lock", ".md")
CITED = re.compile(r"""(?<![\w"'])I\d+\b(?!["'])""")
"""In quotes it is a type of safetensors, such as "I64"."""
DOTTED = re.compile(r"\b(?:unbroken|latentwire)(?:\.(?!sif\b)\w+)+")
"""A module or what is in it; latentwire.sif is the image."""
SHOWN_FILE = re.compile(r"^```\w+ \S+\.\w+\n.*?^```$", re.M | re.S)
"""A file that the reader of a page writes."""
CODE = re.compile(r"`([^`\n]+)`")


def section(title: str) -> str:
    """The text under a heading of the page."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table_rows(title: str) -> list[list[str]]:
    """Cells of the table of a section, without its head."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def code_spans(text: str) -> list[str]:
    return CODE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def children(package: str) -> set[str]:
    paths = (path for path in (SRC / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
    return {path.stem for path in paths} - {"__init__"}


def drawn_layers(package: str) -> list[set[str]]:
    """Rooms of the tree of the page by their numbers, from the top."""
    layers: list[set[str]] = []
    for line in section("Rooms").partition(f"src/{package}/")[2].splitlines()[1:]:
        drawn = re.fullmatch(r" ( ?\d+|  )  (\w+) {2,}\S.*", line)
        if drawn is None:
            break
        if drawn[1].strip():
            assert int(drawn[1]) == len(layers) + 1
            layers.append(set())
        layers[-1].add(drawn[2])
    return layers


def contract_layers(package: str) -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers" and c["layers"][0].startswith(f"{package}."))
    return [{name.strip().removeprefix(f"{package}.") for name in layer.split("|")} for layer in layers]


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_stand_in_the_order_of_the_contract(package: str) -> None:
    assert drawn_layers(package) == contract_layers(package)
    assert set().union(*drawn_layers(package)) == children(package)


def is_path(span: str) -> bool:
    if span == NOT_IN_GIT or re.search(r"[\s…*A-Z]", span.removesuffix("README.md")):
        return False
    top = span.partition("/")[0]
    return ("/" in span and top in (*FOLDERS, *PACKAGES)) or ("/" not in span and span.endswith(FILES_OF_THE_ROOT))


def resolve(path: str) -> Path:
    return (SRC if path.partition("/")[0] in PACKAGES else ROOT) / path


def test_every_path_exists() -> None:
    drawn = re.findall(rf"(?:{'|'.join((*FOLDERS, *PACKAGES))})/[\w/]+\.\w+", "".join(PAGE.split("```")[1::2]))
    paths = [*drawn, *(span for span in code_spans(PAGE) if is_path(span.partition("::")[0]))]
    assert len(paths) > 50
    assert [path for path in paths if not resolve(path.partition("::")[0]).exists()] == []


def defined_names(path: Path) -> set[str]:
    """Functions, classes and methods of a file, and what its modules and classes assign to a name."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    assigned = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    assigned += [node.target for node in nodes if isinstance(node, ast.AnnAssign)]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)} | {
        target.id for target in assigned if isinstance(target, ast.Name)
    }


def test_every_test_exists() -> None:
    spans = {span for page in documents() for span in code_spans(page.read_text(encoding="utf-8"))}
    named = [span.split("::") for span in spans if span.startswith("tests/") and "::" in span]
    assert len(named) > 40
    assert [f"{path}::{name}" for path, name in named if name not in defined_names(ROOT / path)] == []


def test_every_object_is_defined_where_the_page_says() -> None:
    rows = table_rows("Main objects")
    assert len(rows) > 10
    for objects, _, where in rows:
        (path,) = code_spans(where)
        assert set(code_spans(objects)) <= defined_names(resolve(path)), objects


def test_every_name_of_the_instructions_is_defined_where_they_say() -> None:
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", section("Where to put something new"))
    assert len(named) > 5
    assert [(name, path) for name, path in named if name not in defined_names(resolve(path))] == []


def defined_invariants() -> list[str]:
    return re.findall(r"^- \*\*(I\d+) ", section("Invariants"), re.MULTILINE)


def test_every_invariant_that_is_cited_is_defined() -> None:
    defined = defined_invariants()
    assert defined == [f"I{number}" for number in range(1, len(defined) + 1)]
    texts = (path for folder in ("src", "slurm", "tests", "tools") for path in (ROOT / folder).rglob("*"))
    for path in texts:
        if path.is_file() and path.suffix in (".py", ".sh", ".slurm", ".md", ".j2", ".example"):
            assert set(CITED.findall(path.read_text(encoding="utf-8"))) <= set(defined), path


def test_every_invariant_names_a_file_and_a_test() -> None:
    for text in re.split(r"^- ", section("Invariants"), flags=re.MULTILINE)[1:]:
        held, _, tested = " ".join(text.split()).partition("Held by ")[2].partition("; tested by ")
        assert [span for span in code_spans(held) if is_path(span)], text
        assert [span for span in code_spans(tested) if "::" in span], text


def test_types_of_tensors_are_no_citations() -> None:
    assert CITED.findall('invariants I7 and I10 (I12); "I64": torch.int64') == ["I7", "I10", "I12"]


def test_events_and_their_fields_are_those_of_the_code() -> None:
    told = {code_spans(name)[0]: set(code_spans(fields)) for name, _, fields in table_rows("Events")}
    assert told == read_event_calls(SRC)
    every_line = section("Events").partition("Every line has ")[2].partition("; besides")[0]
    assert set(code_spans(every_line)) == base_fields(SRC)


@cache
def documents() -> tuple[Path, ...]:
    folders = (ROOT, *(ROOT / name for name in ("docs", "src", "benchmarks", "tests", "slurm", "tools")))
    return tuple(path for top in folders for path in sorted(top.glob("*.md") if top == ROOT else top.rglob("*.md")))


def relative_links(path: Path) -> Iterator[Path]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            yield path.parent / target.partition("#")[0]


def test_every_relative_link_resolves() -> None:
    assert {ROOT / name for name in ("README.md", "docs/architecture.md", "src/unbroken/README.md")} <= set(documents())
    assert [target for path in documents() for target in relative_links(path) if not target.exists()] == []


def test_every_dotted_name_in_a_page_leads_to_something() -> None:
    pages = (SHOWN_FILE.sub("", path.read_text(encoding="utf-8")) for path in documents())
    names = {name for page in pages for name in DOTTED.findall(page)}
    assert len(names) > 5
    for name in sorted(names):
        path = ROOT / "src" / name.replace(".", "/")
        if not path.with_suffix(".py").is_file():  # a module may need a library that is not required
            pkgutil.resolve_name(name)


README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = README.partition("\n## The map\n")[2].partition("```")[2].partition("```")[0]


def mapped_folders() -> set[str]:
    """Folders of the repository that stand at the left of the map in the README, or are named as parts of tests/."""
    named, top = set(), ""
    for line in MAP.strip().splitlines():
        folders, _, words = line.partition("  ") if line[0] != " " else line[2:].partition("  ")
        if line[0] != " ":
            top = folders.rstrip("/")
            named.add(top)
        else:
            named |= {f"{top}/{name.rstrip('/')}" for name in folders.split()}
        if top == "tests":
            named |= {f"{top}/{name}" for name in re.findall(r"(\w+)/", words)}
    return named


def test_the_map_of_the_readme_names_every_room() -> None:
    named = mapped_folders()
    assert [name for name in named if not (ROOT / name).is_dir()] == []
    rooms = {f"src/{package}/{room}" for package in PACKAGES for room in children(package)}
    assert {room for room in rooms if (ROOT / room).is_dir()} <= named


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/cluster.md", "src/unbroken/README.md"])
def test_the_readme_leads_to_the_other_pages(page: str) -> None:
    assert ROOT / page in set(relative_links(ROOT / "README.md"))
