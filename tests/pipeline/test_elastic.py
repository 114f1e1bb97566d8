"""The real train stage on several processes: the same bytes for any number, and one signalled rank stops all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.elastic.running import carry_out, digests, ranks, run, start
from tests.elastic.schedules import SCHEDULES, Leg, Schedule, changing, steady
from tests.support.workspace import ITEM, TRAIN, Workspace

SHORT = (changing("TERM", 2, 1, every=10), changing("KILL", 3, 2, every=12))


@pytest.mark.parametrize("schedule", SHORT, ids=lambda schedule: schedule.name)
def test_a_changing_number_of_processes(
    schedule: Schedule, prepared: Workspace, uninterrupted: Workspace, tmp_path: Path
) -> None:
    assert carry_out(schedule, prepared, tmp_path / "repo") == digests(uninterrupted)


OTHERS = {
    "prompt_tuning": {"kind": "prompt_tuning", "length": 3},
    "lora": {"kind": "lora", "rank": 2, "alpha": 4.0},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_methods_that_read_the_text_are_as_exact(kind: str, fresh: Callable[..., Workspace], tmp_path: Path) -> None:
    """One process; two, stopped, then four: also where what is trained stands inside the receivers."""
    place = fresh(train__steps=12)
    methods = yaml.safe_load((place.root / "params.yaml").read_text())["methods"]
    own = {**OTHERS[kind], "receivers": methods["wire"]["receivers"]}
    place.set(methods={"wire": own, "sent": methods["wire"]}, baseline__budget_of="sent")
    whole = carry_out(steady(1), place, tmp_path / "whole")
    assert carry_out(changing("TERM", 2, 4, every=5), place, tmp_path / "stopped") == whole


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_every_schedule(schedule: Schedule, prepared: Workspace, uninterrupted: Workspace, tmp_path: Path) -> None:
    assert carry_out(schedule, prepared, tmp_path / "repo") == digests(uninterrupted)


@pytest.mark.slow
def test_plain_data_parallelism_is_told_apart(fresh: Callable[..., Workspace], tmp_path: Path) -> None:
    place = fresh(train__mode="throughput", train__steps=6, train__warmup=2)
    found = {carry_out(steady(count), place, tmp_path / str(count)) for count in (1, 2, 4)}
    assert len(found) > 1


def test_dvc_records_the_same_for_any_number(
    fresh: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support import workspace

    one = fresh(train__steps=6, train__warmup=2)
    two = workspace.copy(one, tmp_path / "two")
    for place, count in ((one, "1"), (two, "2")):
        place.run("dvc", "repro", f"train@{ITEM}", LATENTWIRE_PROCESSES=count)
    assert (one.root / "dvc.lock").read_bytes() == (two.root / "dvc.lock").read_bytes()
    events = (two.state()[0] / "events.jsonl").read_text().splitlines()
    begun = next(event for event in map(json.loads, events) if event["event"] == "start")
    assert (begun["processes"], begun["threads"], begun["gpus"]) == (2, 1, 0)


def imported(process: subprocess.Popen[str], place: Workspace) -> None:
    """The last rank catches signals, but has met nobody."""
    _until(process, lambda: len(ranks(process.pid)) == 2 and _catches_term(ranks(process.pid)[-1]))


def loaded(process: subprocess.Popen[str], place: Workspace) -> None:
    """The run has its folder, and the models are being loaded or just were."""
    _until(process, lambda: bool(place.state()))


def stepped(process: subprocess.Popen[str], place: Workspace) -> None:
    """In the middle of the training: a step, or a validation, or a save, which come every few milliseconds."""
    place.wait_for_step(process, 9)


@pytest.mark.parametrize("reached", [imported, loaded, stepped])
def test_one_signalled_rank_stops_all(
    reached: Callable[[subprocess.Popen[str], Workspace], None],
    fresh: Callable[..., Workspace],
    uninterrupted: Workspace,
) -> None:
    place = fresh()
    process = start(place, 2)
    reached(process, place)
    os.kill(ranks(process.pid)[-1], signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert not _alive(place), "a rank outlived the stage"
    run(place, Leg(1))
    assert digests(place) == digests(uninterrupted)


SLOW_PLACES = {
    "import": "latentwire.training.assemble:join_process_group",
    "assemble": "latentwire.training.assemble:assemble_trainer",
    "step": "latentwire.training.exact:Exact.compute_shards",
    "validation": "latentwire.training.validation:Validation._chosen",
    "saving": "unbroken.checkpoint.store:CheckpointStore.save",
}
"""Phase → the function that is being executed when the signal comes."""


@pytest.mark.slow
@pytest.mark.parametrize("phase", SLOW_PLACES)
def test_one_signalled_rank_stops_all_in_every_phase(
    phase: str, fresh: Callable[..., Workspace], uninterrupted: Workspace, tmp_path: Path
) -> None:
    place = fresh()
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_SIGNAL_IN.format(target=SLOW_PLACES[phase], mark=str(tmp_path / "mark")))
    process = start(place, 2, PYTHONPATH=f"{hook}:src")
    output, _ = process.communicate(timeout=240)
    assert (tmp_path / "mark").exists(), f"{SLOW_PLACES[phase]} was never called:\n{output}"
    assert process.returncode == 75, output
    run(place, Leg(1))
    assert digests(place) == digests(uninterrupted)


_SIGNAL_IN = """
# Rank 1 (rank 0 where only it saves) sends itself a TERM inside one function, the second time that it is called there.
import importlib, os, signal, sys
MODULE, _, PATH = {target!r}.partition(":")
CALLS = 1 if PATH in ("join_process_group", "assemble_trainer") else 2

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (load(module), wrap(module))
        return spec

def wrap(module):
    *owner, name = PATH.split(".")
    holder = getattr(module, owner[0]) if owner else module
    inner, calls = getattr(holder, name), []
    def called(*args, **kwargs):
        calls.append(1)
        if len(calls) == CALLS and not os.path.exists({mark!r}):
            open({mark!r}, "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(*args, **kwargs)
    setattr(holder, name, called)

if os.environ.get("RANK") == ("0" if "save" in PATH else "1"):
    import importlib.util
    sys.meta_path.insert(0, Finder())
"""


def _until(process: subprocess.Popen[str], reached: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"not reached in {seconds:.0f} s"
        time.sleep(0.01)


def _catches_term(pid: int) -> bool:
    found = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return found is not None and bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def _alive(place: Workspace) -> list[str]:
    """Training processes of this workspace."""
    found = subprocess.run(["pgrep", "-f", TRAIN[0]], capture_output=True, text=True, check=False).stdout.split()
    folders = {pid: Path(f"/proc/{pid}/cwd") for pid in found}
    return [pid for pid, folder in folders.items() if folder.exists() and folder.resolve() == place.root.resolve()]
