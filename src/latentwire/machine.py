"""What this machine has: GPUs, memory, disk, installed distributions."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from latentwire.nvml import count_gpus as count_gpus  # the training asks for it here
from latentwire.sizes import format_bytes
from unbroken.cgroups import read_cpu_quota, read_memory_limit
from unbroken.environment import processor_name, usable_cores


def total_memory() -> int:
    """Bytes of main memory that this process may use: the machine's, or fewer where its cgroup allows fewer."""
    limit, total = read_memory_limit(), int(psutil.virtual_memory().total)
    return total if limit is None else min(total, limit.limit)


def available_memory() -> int:
    """Bytes of main memory that are still to be had, of the machine's and of what the cgroup allows."""
    limit, available = read_memory_limit(), int(psutil.virtual_memory().available)
    return available if limit is None else max(0, min(available, limit.limit - limit.used))


def describe_processor() -> str:
    """The processor, and how many of its cores are to be had."""
    quota, cores = read_cpu_quota(), usable_cores()
    bound = len(os.sched_getaffinity(0))
    why = f", as a cgroup allows {quota:g} of {bound}" if quota is not None and quota < bound else ""
    return f"{processor_name()}, {cores} cores usable{why}"


def describe_memory() -> str:
    """Main memory, and of how much it is a part that a cgroup allows."""
    total, machine = total_memory(), int(psutil.virtual_memory().total)
    return format_bytes(total) + (f", as a cgroup allows, of {format_bytes(machine)}" if total < machine else "")


def installed_version(distribution: str) -> str | None:
    """Version of a distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def free_space(folder: Path) -> int:
    """Bytes that can still be written to a folder."""
    return shutil.disk_usage(folder).free


def size_on_disk(path: Path) -> int:
    """Bytes that a file or folder holds, links not followed; 0 where there is none."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
