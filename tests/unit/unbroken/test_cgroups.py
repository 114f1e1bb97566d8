"""Limits of control groups as SLURM, Docker, Kubernetes and systemd write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unbroken import environment
from unbroken.cgroups import MemoryLimit, read_cpu_quota, read_memory_limit

GIB = 2**30
MOUNT_2 = "30 24 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
MOUNT_1 = "{n} 24 0:2{n} {root} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"
NONE_1 = str(2**63 - 4096)


def lay_out(root: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A root with the files of /proc and of the control groups."""
    written = {"proc/self/cgroup": groups, "proc/self/mountinfo": "\n".join(mounts) + "\n"}
    for name, text in {**written, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


SLURM_2 = "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n"
JOB_2 = "system.slice/slurmstepd.scope/job_7"


def test_version_2_of_a_slurm_job_has_its_limits_above(tmp_path: Path) -> None:
    files = {
        f"{JOB_2}/cpu.max": "350000 100000\n",
        f"{JOB_2}/memory.max": f"{8 * GIB}\n",
        f"{JOB_2}/memory.current": f"{3 * GIB}\n",
        f"{JOB_2}/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\n",
        f"{JOB_2}/step_0/cpu.max": "max 100000\n",
        f"{JOB_2}/step_0/memory.max": "max\n",
        f"{JOB_2}/step_0/user/task_0/memory.max": "max\n",
    }
    root = lay_out(tmp_path, SLURM_2, [MOUNT_2.format(root="/")], files)
    assert read_cpu_quota(root) == 3.5
    assert read_memory_limit(root) == MemoryLimit(8 * GIB, GIB)


def test_the_group_that_leaves_least_counts(tmp_path: Path) -> None:
    files = {
        f"{JOB_2}/memory.max": f"{8 * GIB}\n",
        f"{JOB_2}/memory.current": f"{7 * GIB}\n",
        f"{JOB_2}/step_0/memory.max": f"{4 * GIB}\n",
        f"{JOB_2}/step_0/memory.high": f"{3 * GIB}\n",
        f"{JOB_2}/step_0/cpu.max": "100000 50000\n",
        f"{JOB_2}/step_0/user/cpu.max": "400000 100000\n",
    }
    root = lay_out(tmp_path, SLURM_2, [MOUNT_2.format(root="/")], files)
    assert read_memory_limit(root) == MemoryLimit(8 * GIB, 7 * GIB)
    assert read_cpu_quota(root) == 2


def test_a_container_with_a_namespace_sees_its_group_as_the_root(tmp_path: Path) -> None:
    files = {"cpu.max": "50000 100000\n", "memory.max": f"{GIB}\n", "memory.current": "4096\n"}
    root = lay_out(tmp_path, "0::/\n", [MOUNT_2.format(root="/")], files)
    assert (read_cpu_quota(root), read_memory_limit(root)) == (0.5, MemoryLimit(GIB, 4096))
    outside = lay_out(tmp_path / "b", "0::/../../other\n", [MOUNT_2.format(root="/../../kubepods")], files)
    assert read_cpu_quota(outside) == 0.5


def version_1(root: str) -> list[str]:
    return [MOUNT_1.format(n=n, root=root, name=name) for n, name in ((31, "cpu,cpuacct"), (32, "memory"))]


def test_version_1_of_a_slurm_job(tmp_path: Path) -> None:
    group = "slurm/uid_1000/job_7"
    groups = f"5:memory:/{group}/step_0\n4:cpu,cpuacct:/{group}/step_0\n3:cpuset:/{group}\n1:name=systemd:/x\n0::/y\n"
    files = {
        f"memory/{group}/memory.limit_in_bytes": f"{16 * GIB}\n",
        f"memory/{group}/memory.usage_in_bytes": f"{5 * GIB}\n",
        f"memory/{group}/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}\n",
        f"memory/{group}/step_0/memory.limit_in_bytes": f"{NONE_1}\n",
        f"cpu,cpuacct/{group}/cpu.cfs_quota_us": "250000\n",
        f"cpu,cpuacct/{group}/cpu.cfs_period_us": "100000\n",
        f"cpu,cpuacct/{group}/step_0/cpu.cfs_quota_us": "-1\n",
        f"cpu,cpuacct/{group}/step_0/cpu.cfs_period_us": "100000\n",
    }
    root = lay_out(tmp_path, groups, version_1("/"), files)
    assert (read_cpu_quota(root), read_memory_limit(root)) == (2.5, MemoryLimit(16 * GIB, 4 * GIB))


def test_version_1_of_a_container_without_a_namespace(tmp_path: Path) -> None:
    groups = "5:memory:/docker/ab12\n4:cpu,cpuacct:/docker/ab12\n"
    files = {
        "memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    root = lay_out(tmp_path, groups, version_1("/docker/ab12"), files)
    assert (read_cpu_quota(root), read_memory_limit(root)) == (1, MemoryLimit(2 * GIB, 0))


def test_version_1_says_the_limit_of_a_group_that_a_container_does_not_see(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{NONE_1}\n",
        "memory/memory.usage_in_bytes": f"{3 * GIB}\n",
        "memory/memory.stat": f"total_inactive_file {GIB}\nhierarchical_memory_limit {4 * GIB}\n",
    }
    mount = MOUNT_1.format(n=1, name="memory", root="/docker/c0ffee")
    assert read_memory_limit(lay_out(tmp_path, "4:memory:/docker/c0ffee\n", [mount], files)) == MemoryLimit(
        4 * GIB, 2 * GIB
    )
    files["memory/memory.stat"] = f"hierarchical_memory_limit {NONE_1}\n"
    assert read_memory_limit(lay_out(tmp_path, "4:memory:/docker/c0ffee\n", [mount], files)) is None


@pytest.mark.parametrize("text", ["max\n", "", "max max\n", "broken\n", f"{NONE_1}\n"])
def test_no_limit_is_none(tmp_path: Path, text: str) -> None:
    files = {"cpu.max": "max 100000\n", "memory.max": text}
    root = lay_out(tmp_path, "0::/\n", [MOUNT_2.format(root="/"), "short - x"], files)
    assert (read_cpu_quota(root), read_memory_limit(root)) == (None, None)
    assert (read_cpu_quota(tmp_path / "nothing"), read_memory_limit(tmp_path / "nothing")) == (None, None)


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.5, 1), (1.5, 1), (1.999, 2), (3.0, 3), (64.0, 8)])
def test_usable_cores_are_whole_ones_of_the_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(environment, "read_cpu_quota", lambda: quota)
    assert environment.usable_cores() == cores
