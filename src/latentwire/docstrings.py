"""Texts that the user reads are docstrings here; PYTHONOPTIMIZE=2 removes them, and they are read from the source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_docstring(thing: type | Callable[..., Any]) -> str:
    """The docstring of a class or function, also where Python was started without; empty where it has none."""
    if thing.__doc__ is not None:
        return inspect.cleandoc(thing.__doc__)
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except OSError:  # without source, as in a frozen program
        return ""
    [definition] = ast.parse(source).body
    if not isinstance(definition, ast.ClassDef | ast.FunctionDef):
        return ""
    return ast.get_docstring(definition) or ""


def restore_module_docstring(names: dict[str, Any]) -> None:
    """Give a module, known by its global names, the docstring that `--help` prints."""
    file = names.get("__file__")
    if names.get("__doc__") is None and file is not None:
        names["__doc__"] = ast.get_docstring(ast.parse(Path(file).read_text(encoding="utf-8")))
