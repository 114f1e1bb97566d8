"""What a control group leaves is what doctor, the memory plan and the number of processes go by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from latentwire import machine
from latentwire.doctor import checks, memory
from latentwire.environment import clone_environment
from latentwire.execution.report import describe_hardware
from latentwire.params.load import load_params
from unbroken.cgroups import MemoryLimit

ROOT = Path(__file__).parents[2]
GIB = 2**30


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(total=256 * GIB, available=200 * GIB))
    monkeypatch.setattr(machine, "read_memory_limit", lambda: MemoryLimit(8 * GIB, 3 * GIB))
    monkeypatch.setattr(machine, "read_cpu_quota", lambda: 2.5)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.usefixtures("limited")
def test_doctor_and_the_execution_report_say_what_is_left() -> None:
    found = {check.name: check.found for check in checks._machine(ROOT)}
    assert found["processor"].endswith(", 2 cores usable, as a cgroup allows 2.5 of 64")
    assert found["memory"] == "8.00 GiB, as a cgroup allows, of 256.00 GiB"
    assert describe_hardware()["memory"] == found["memory"]


@pytest.mark.usefixtures("limited")
def test_memory_is_planned_within_the_limit() -> None:
    values = load_params(ROOT / "params.yaml")
    runtime = values.runtime.model_copy(update={"device": "cpu"})
    assert memory.list_memories(values.model_copy(update={"runtime": runtime})) == [("main memory", 5 * GIB)]


def test_without_a_limit_the_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(total=4 * GIB, available=GIB))
    for limit in (None, MemoryLimit(64 * GIB, 0)):
        monkeypatch.setattr(machine, "read_memory_limit", lambda limit=limit: limit)
        assert (machine.total_memory(), machine.available_memory()) == (4 * GIB, GIB)
        assert machine.describe_memory() == "4.00 GiB"


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/usr/bin/zsh", ""])
def test_a_clone_runs_its_stages_by_sh(shell: str) -> None:
    assert clone_environment(Path("clone"), {"SHELL": shell, "PATH": "/bin"})["SHELL"] == "/bin/sh"
