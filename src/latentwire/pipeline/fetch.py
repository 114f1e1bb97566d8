"""The wheels of `assets.lock` → `assets/`."""

from __future__ import annotations

from pathlib import Path

from latentwire.assets import Assets


def fetch_wheels(folder: Path, lock: Path) -> None:
    """Fetch what is missing and check the hash of what is there."""
    assets = Assets(folder, lock)
    new = assets.fetch()
    print(f"{folder}/: {len(assets.pins())} wheels, {len(new)} of them new, every SHA-256 as pinned")
