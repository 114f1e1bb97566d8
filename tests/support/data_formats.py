"""Formats of data files as params.yaml writes them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from latentwire.params.formats import DataFormat

ADAPTER: TypeAdapter[DataFormat] = TypeAdapter(DataFormat)


def layout(kind: str, **more: Any) -> DataFormat:
    """A format with the columns `text` and `label`, or others."""
    return ADAPTER.validate_python({"kind": kind, "text": "text", "label": "label", **more})
