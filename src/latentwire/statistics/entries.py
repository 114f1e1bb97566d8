"""The numbers of `stats.json` by id, whatever section they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def entries(stats: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Id → entry: all that carry the signature of how they were computed."""
    sections = [section for section in stats.values() if isinstance(section, Mapping)]
    blocks = {f"{b['task']}/{b['receiver']}/ranks": {"task": b["task"], **b["ranks"]} for b in stats.get("blocks", ())}
    return {
        key: dict(entry)
        for section in (*sections, blocks)
        for key, entry in section.items()
        if isinstance(entry, Mapping) and "signature" in entry
    }
