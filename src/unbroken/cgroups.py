"""What the control groups of Linux leave to this process: SLURM and containers limit processors and memory by them.

A limit holds for a group and all below it, so the least of a group and its ancestors counts. Version 2 has one tree;
version 1 has one for each controller, and both may be mounted. In a container without a namespace of its own the names
in /proc/self/cgroup are those of the host, and the mount shows only the part below some folder of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60
"""Bytes; version 1 writes nearly 2^63 for no limit."""


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that a control group allows, and those that its processes hold of them and would not give back."""

    limit: int
    used: int


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors whose time this process may use, such as 1.5; None where no control group limits it."""
    quotas = [_cpu_quota(group) for group in _groups(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def read_memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The limit that leaves least; None where no control group limits the memory."""
    limits = [limit for group in _groups(root, "memory") for limit in _memory_limits(group)]
    return min(limits, key=lambda limit: limit.limit - limit.used, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, its own first; none where they cannot be seen."""
    names = _names_of_groups(root)
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        version_2 = kind[0] == "cgroup2"
        if version_2 or (kind[0] == "cgroup" and controller in kind[2].split(",")):
            name = names.get("" if version_2 else controller)
            if name is not None:
                yield from _ancestors(root / _unescape(fields[4]).lstrip("/"), _below(name, _unescape(fields[3])))


def _names_of_groups(root: Path) -> dict[str, str]:
    """Controller → name of the group; the one tree of version 2 has the controller ``."""
    lines = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
    return {controller: parts[2] for parts in lines if len(parts) == 3 for controller in parts[1].split(",")}


def _unescape(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _below(name: str, mounted: str) -> str:
    """The part of a group's name below the folder that is mounted; nothing where it is not below."""
    if mounted == "/":
        return name
    return name.removeprefix(mounted) if f"{name}/".startswith(f"{mounted}/") else ""


def _ancestors(mount: Path, name: str) -> Iterator[Path]:
    parts = [part for part in name.split("/") if part]
    if ".." in parts:  # above the namespace of this process
        parts = []
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _cpu_quota(group: Path) -> float | None:
    words = _words(group / "cpu.max")
    if not words:
        words = _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
    if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):  # `max`, or -1
        return None
    return int(words[0]) / int(words[1])


def _memory_limits(group: Path) -> Iterator[MemoryLimit]:
    current = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
    facts = _memory_facts(group)
    # Files that the kernel drops when memory is short.
    reclaimable = facts.get("total_inactive_file") or facts.get("inactive_file") or 0
    named = [_number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    # Version 1 says the least of all groups above too, which a container does not see.
    for limit in (*named, facts.get("hierarchical_memory_limit")):
        if limit is not None and limit < _UNLIMITED:
            yield MemoryLimit(limit, max(0, current - reclaimable))


def _memory_facts(group: Path) -> dict[str, int]:
    """Bytes by name."""
    facts = [line.split() for line in _lines(group / "memory.stat")]
    return {fact[0]: int(fact[1]) for fact in facts if len(fact) == 2 and fact[1].isdecimal()}


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdecimal() else None


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
