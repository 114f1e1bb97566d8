"""YAML as DVC reads it: version 1.2, and no key twice. What the code computes with is then what `dvc.lock` records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from latentwire.errors import ConfigurationError


def parse_yaml(data: bytes, where: str) -> Any:
    """The values in UTF-8 text.

    Args:
        data: The bytes of a file.
        where: What to call the file in messages.

    Raises:
        ConfigurationError: It is not UTF-8 or not YAML, or a key stands twice in a mapping.
    """
    try:
        return YAML(typ="safe").load(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{where}, line {line}, is not UTF-8 ({error.reason}). Next: save the file as UTF-8."
        ) from None
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # The reader's own constructors meet values that are not of their tag with whatever Python raises there.
        raise ConfigurationError(f"{where} is not YAML 1.2: {_describe(error)}. Next: mend it there.") from None


def read_yaml(path: Path) -> Any:
    """The values in a file.

    Raises:
        ConfigurationError: As of `parse_yaml`.
        OSError: The file cannot be read.
    """
    return parse_yaml(path.read_bytes(), str(path))


def _describe(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join((f"{error!r}" if isinstance(error, LookupError) else str(error)).split())[:200]
    problem = " ".join(str(getattr(error, "problem", "")).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem[:200]}"
