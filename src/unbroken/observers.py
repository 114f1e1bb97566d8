"""What follows a run: trackers, progress bars. They are told about it and cannot stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from unbroken.errors import describe_error


class Observer(Protocol):
    """Must be idempotent: after a resume it gets every record up to the resumed step again."""

    def started(self, step: int) -> None:
        """The state is restored; `step` is the one that the run goes on from."""

    def committed(self, step: int, records: list[dict[str, Any]]) -> None:
        """These records, all up to `step`, are durable now; many, as after a resume, come in several calls."""

    def ended(self, verdict: str) -> None:
        """`finished`, `preempted` or `failed`."""


class Observers:
    """All observers of a run. What one of them raises is reported and goes no further."""

    def __init__(self, observers: Sequence[Observer], report: Callable[[str], None]) -> None:
        self._observers = tuple(observers)
        self._report = report

    def __bool__(self) -> bool:
        """Is there any?"""
        return bool(self._observers)

    def started(self, step: int) -> None:
        """Tell all of them."""
        self._tell(lambda observer: observer.started(step))

    def committed(self, step: int, records: list[dict[str, Any]]) -> None:
        """Tell all of them; each gets a list of its own."""
        self._tell(lambda observer: observer.committed(step, [dict(record) for record in records]))

    def ended(self, verdict: str) -> None:
        """Tell all of them."""
        self._tell(lambda observer: observer.ended(verdict))

    def _tell(self, message: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                message(observer)
            except Exception as error:  # an observer's failure must not cost the training
                self._report(
                    f"The observer {type(observer).__name__} failed ({describe_error(error)}); "
                    f"the training goes on without it knowing."
                )
