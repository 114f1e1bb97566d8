"""Methods that are replaced for as long as a `with` lasts."""

from __future__ import annotations

from typing import Any


class Patches:
    """Replacements on objects and modules that can be undone."""

    def __init__(self) -> None:
        self._originals: dict[str, Any] = {}
        self._undo: list[tuple[Any, str, bool, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set the attribute `name` of `owner`; `original` gives what was there."""
        self._originals[name] = getattr(owner, name)
        own = vars(owner)
        self._undo.append((owner, name, name in own, own.get(name)))
        setattr(owner, name, value)

    def original(self, name: str) -> Any:
        """What `replace` found there."""
        return self._originals[name]

    def undo(self) -> None:
        """Put everything back, the latest first."""
        while self._undo:
            owner, name, was_own, value = self._undo.pop()
            if was_own:
                setattr(owner, name, value)
            else:
                delattr(owner, name)
