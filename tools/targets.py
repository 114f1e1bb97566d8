"""The Pythons and machines that the lock files are for, and which wheel each takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
GLIBC = 28
"""The minor version of the oldest glibc 2 that torch's wheels run on."""


@dataclass(frozen=True)
class Target:
    """CPython on Linux with glibc: its version, such as 3.11, and what `uname -m` prints."""

    python: str
    machine: str

    def __str__(self) -> str:
        return f"Python {self.python} on Linux {self.machine}"

    def environment(self) -> dict[str, str]:
        """The variables of environment markers (PEP 508)."""
        return {
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": self.machine,
        }

    def best_wheel(self, wheels: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """The wheel that pip would take; None where none fits.

        Args:
            wheels: Each with its `url`, as in pylock.toml.
        """
        ranks = {tag: rank for rank, tag in enumerate(_tags(self))}
        ranked = [(_rank(wheel["url"], ranks), wheel) for wheel in wheels]
        fitting = [(rank, wheel) for rank, wheel in ranked if rank is not None]
        return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


TARGETS = tuple(Target(python, machine) for machine in MACHINES for python in PYTHONS)


@cache
def _tags(target: Target) -> tuple[Tag, ...]:
    version = tuple(int(part) for part in target.python.split("."))
    platforms = list(_platforms(target.machine))
    interpreter = f"cp{version[0]}{version[1]}"
    return (*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms))


def _platforms(machine: str) -> Iterator[str]:
    for minor in range(GLIBC, 4, -1):
        yield f"manylinux_2_{minor}_{machine}"
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(minor)
        if legacy:
            yield f"{legacy}_{machine}"
    yield f"linux_{machine}"


def _rank(url: str, ranks: dict[Tag, int]) -> int | None:
    *_, tags = parse_wheel_filename(url.rsplit("/", 1)[-1])
    return min((ranks[tag] for tag in tags if tag in ranks), default=None)
