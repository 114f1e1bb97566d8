"""A run belongs to the process that entered it, not to what that process forks."""

from __future__ import annotations

import os
from pathlib import Path

from unbroken.errors import UnbrokenError


class Owner:
    """The process that entered a run; a fork inherits the object, and with it the wish to write into the folder."""

    def __init__(self) -> None:
        """Nobody has entered yet."""
        self._pid: int | None = None

    def claim(self) -> None:
        """This process enters the run."""
        self._pid = os.getpid()

    @property
    def is_another_process(self) -> bool:
        """Is this a fork of the process that entered the run?"""
        return self._pid is not None and self._pid != os.getpid()

    def check_is_this_process(self, folder: Path) -> None:
        """Make sure that the run in `folder` is this process's.

        Raises:
            UnbrokenError: This is a fork of the process that entered it.
        """
        if self.is_another_process:
            raise UnbrokenError(
                f"Process {os.getpid()} is a fork of process {self._pid}, which entered the run in {folder} and alone "
                f"goes on with it. This process wrote nothing there. Next: end the child by os._exit(0) when its work "
                f"is done; a program that makes itself a daemon does so before `with Run(…)`."
            )
