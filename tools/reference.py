"""Write docs/reference.md from the code itself: commands, targets, parameters, exit codes, environment variables."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from latentwire.cli import app
from latentwire.docstrings import read_docstring
from latentwire.params.load import Params

PAGE = Path("docs/reference.md")
BEGIN = """# Reference

`make reference` writes this page from the code, and a test compares the two. What stands in `events.jsonl`, and where
the files of a run are, is in [architecture.md](architecture.md#events); the library has
[a page of its own](../src/unbroken/README.md).
"""
ENVIRONMENTS = ("src/unbroken/environment.py", "src/latentwire/environment.py")
SITE = "slurm/site.env.example"


def write_reference(root: Path) -> str:
    """The page for the checkout at `root`."""
    parts = {
        "Exit codes": _exit_codes(),
        "Commands": _commands(),
        "Targets of make": _targets(root / "Makefile"),
        "Parameters": _parameters(),
        "Environment variables": _variables(root),
    }
    return BEGIN + "".join(f"\n## {title}\n\n{''.join(lines)}" for title, lines in parts.items())


def _exit_codes() -> Iterator[str]:
    codes = str(app.info.epilog).partition("Exit codes: ")[2].rstrip(".")
    yield "Of every command and stage:\n\n| code | meaning |\n|---|---|\n"
    for code, meaning in re.findall(r"(\d+) (.+?)(?:, (?=\d)|$)", codes):
        yield f"| {code} | {meaning} |\n"


def _commands() -> Iterator[str]:
    group: Any = typer.main.get_command(app)  # of the click that this typer brings
    for name in sorted(group.commands):
        command = group.commands[name]
        yield f"### latentwire {name}\n\n{_one_line(command.help)}\n\n"
        yield from _options(command)


def _options(command: Any) -> Iterator[str]:
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    if shown:
        yield "| argument | meaning | default |\n|---|---|---|\n"
    for parameter in shown:
        names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.metavar
        absent = parameter.default is None or parameter.default is False or callable(parameter.default)
        default = "" if absent else f"`{parameter.default}`"
        yield f"| `{names}` | {_cell(getattr(parameter, 'help', ''))} | {default} |\n"
    yield "\n" if shown else ""


def _targets(makefile: Path) -> Iterator[str]:
    yield "| target | what it does |\n|---|---|\n"
    for name, meaning in re.findall(r"^([a-z-]+):.*?## (.+)$", makefile.read_text(encoding="utf-8"), re.M):
        yield f"| `make {name}` | {_cell(meaning)} |\n"


def _parameters() -> Iterator[str]:
    yield "Of `params.yaml`; NAME is one that you give. A key without a default has to be there; one that is not here\n"
    yield "is refused. `latentwire params` prints the values.\n\n"
    for path, section in _sections(Params, ""):
        fields = [(key, field) for key, field in _keys(section) if not _models(field.annotation)]
        if path:
            yield f"### {path}\n\n{_one_line(read_docstring(section))}\n\n"
        if fields:
            yield "| key | values | default | meaning |\n|---|---|---|---|\n"
            yield from (_parameter(key, field) for key, field in fields)
            yield "\n"


def _parameter(key: str, field: FieldInfo) -> str:
    default = "" if field.is_required() else f"`{json.dumps(field.get_default(call_default_factory=True))}`"
    return f"| `{key}` | {_cell(_describe_type(field.annotation))} | {_cell(default)} | {_cell(field.description)} |\n"


def _sections(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The section, then those below it, in the order of the file."""
    yield path, section
    for key, field in _keys(section):
        below = f"{path}.{key}".lstrip(".")
        named = f"{below}.NAME" if _is_mapping(field.annotation) else below
        for model in _models(field.annotation):
            yield from _sections(model, named)


def _keys(section: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return [(field.alias or name, field) for name, field in section.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a value may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_mapping(get_args(annotation)[0])
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _describe_type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe_type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join("nothing" if one is type(None) else _describe_type(one) for one in inner)
    if origin is tuple:
        return f"list of {_describe_type(inner[0])}"
    if origin:
        return " → ".join(map(_describe_type, inner))
    words = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return words.get(annotation, annotation.__name__)


def _variables(root: Path) -> Iterator[str]:
    yield "| variable | meaning |\n|---|---|\n"
    for name, meaning in sorted(_named_variables(root).items()):
        yield f"| `{name}` | {_cell(meaning)} |\n"
    yield f"\nOf a cluster, in `slurm/site.env` (a copy of [`{SITE}`](../{SITE})):\n\n"
    yield "| variable | meaning |\n|---|---|\n"
    for name, meaning in _site_variables((root / SITE).read_text(encoding="utf-8")):
        yield f"| `{name}` | {_cell(meaning)} |\n"


def _named_variables(root: Path) -> dict[str, str]:
    """Name → meaning: constants with a text below them, and functions whose docstring begins with a name."""
    known: dict[str, str] = {}
    for file in ENVIRONMENTS:
        body = ast.parse((root / file).read_text(encoding="utf-8")).body
        for statement, below in pairwise(body):
            match statement, below:
                case ast.Assign(value=ast.Constant(value=str(name))), ast.Expr(value=ast.Constant(value=str(text))):
                    known[name] = text
        for statement in body:
            if isinstance(statement, ast.FunctionDef):
                name, _, text = (ast.get_docstring(statement) or "").partition(": ")
                if name.isupper() and name.isidentifier():
                    known[name] = text.partition("\n\n")[0]
    return known


def _site_variables(text: str) -> Iterator[tuple[str, str]]:
    """Each with the comment above it, which may stand for several."""
    comment: list[str] = []
    for line, above in zip(text.splitlines(), ["", *text.splitlines()], strict=False):
        setting = re.fullmatch(r"#?([A-Z_]+)=.*", line)
        if setting:
            yield setting[1], " ".join(comment)
        elif line.startswith("# "):
            comment = [*(comment if above.startswith("# ") else []), line.removeprefix("# ")]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str | None) -> str:
    return _one_line(text).replace("|", "\\|")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__).parse_args()
    PAGE.write_text(write_reference(Path()), encoding="utf-8")
