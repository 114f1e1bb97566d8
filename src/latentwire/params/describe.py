"""`params.yaml` explained from the same classes that check it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from latentwire.docstrings import read_docstring


def describe_params(section: BaseModel, path: str = "") -> Iterator[str]:
    """One line per parameter, `key = value  # meaning`; a section's own meaning stands above its parameters."""
    if path:
        yield f"# {path}: {_first_line(read_docstring(type(section)))}"
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{path}.{field.alias or name}".lstrip(".")
        meaning = f"  # {_first_line(field.description)}" if field.description else ""
        if isinstance(value, BaseModel):
            yield from describe_params(value, key)
        elif isinstance(value, Mapping) and any(isinstance(entry, BaseModel) for entry in value.values()):
            for inner, entry in value.items():
                yield from describe_params(entry, f"{key}.{inner}")
        else:
            yield f"{key} = {list(value) if isinstance(value, tuple) else value!r}{meaning}"


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split())
