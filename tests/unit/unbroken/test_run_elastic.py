"""A run over several processes: whatever their number, and however they are stopped, the same bytes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import unbroken
from tests.support import elastic_training, toy_training
from tests.support.elastic_training import QUIET, STEPS, Trainer, places
from tests.support.planned_signals import PLANNED_SIGNAL
from unbroken.exact.group import Group
from unbroken.launcher.local_ranks import LOOPBACK, find_free_port
from unbroken.preemption import StopFlag
from unbroken.run_folder import events
from unbroken.run_folder.identity import Identity
from unbroken.run_folder.lock import FolderLock

Bytes = dict[str, bytes]


def started(work: Path, size: int, variables: Mapping[str, str] | None = None, **options: Any) -> list[int]:
    """Train with so many processes in forks of this one; returns their exit statuses."""

    def action(stop: StopFlag) -> None:
        elastic_training.train(work / "run", work / "export", stop, **options)

    return elastic_training.forked(places(size, **(variables or {})), action, work / "log")


def said(work: Path) -> str:
    """What all processes have reported."""
    return (work / "log").read_text()


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, uninterrupted: Bytes) -> Bytes:
    """The export of one process that nothing disturbed."""
    del uninterrupted  # its training has imported everything that a fork needs
    work = tmp_path_factory.mktemp("alone")
    elastic_training.train(
        work / "run", work / "export", StopFlag()
    )  # here: what torch imports late, once for all forks
    return toy_training.contents(work / "export")


@pytest.mark.long
@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_the_bytes_do_not_depend_on_the_number_of_processes(size: int, tmp_path: Path, alone: Bytes) -> None:
    assert started(tmp_path, size) == [0] * size
    assert toy_training.contents(tmp_path / "export") == alone


@pytest.mark.long
def test_resized_by_a_stop_and_a_kill(tmp_path: Path, alone: Bytes) -> None:
    assert started(tmp_path, 2, {"UNBROKEN_INTERRUPT": "TERM@6"}) == [75, 75]
    assert started(tmp_path, 1, {"UNBROKEN_INTERRUPT": "KILL@11"}) == [-signal.SIGKILL]
    assert started(tmp_path, 3) == [0] * 3
    assert toy_training.contents(tmp_path / "export") == alone


@pytest.mark.slow
def test_resized_four_times(tmp_path: Path, alone: Bytes) -> None:
    history = [(1, "TERM@4"), (2, "KILL@8"), (4, "TERM@12"), (3, "KILL@17:save"), (1, "")]
    for size, interrupt in history:
        codes = started(tmp_path, size, {"UNBROKEN_INTERRUPT": interrupt})
        expected = {"": [0], "T": [75] * size, "K": [-signal.SIGKILL] + [1] * (size - 1)}[interrupt[:1]]
        assert codes == expected
    assert toy_training.contents(tmp_path / "export") == alone
    starts = [one["step"] for one in events.read_events(tmp_path / "run" / "events.jsonl") if one["event"] == "start"]
    assert starts[:4] == [0, 4, 4, 12]
    assert starts[4] in (16, 17)  # the kill comes while step 17 is saved


@pytest.mark.long
def test_a_killed_rank_ends_the_others_with_a_sentence(tmp_path: Path, alone: Bytes) -> None:
    assert started(tmp_path, 3, {PLANNED_SIGNAL: "2:KILL@step"}) == [1, 1, -signal.SIGKILL]
    assert "Rank 0 of 3 waited for the partial sums of the others, but another process is gone" in said(tmp_path)
    assert "Next: look at what the other ranks said first, then run the same command again." in said(tmp_path)
    assert started(tmp_path, 2) == [0, 0]
    assert toy_training.contents(tmp_path / "export") == alone


def test_a_silent_rank_is_given_up(tmp_path: Path) -> None:
    work, size = tmp_path, 2

    def action(stop: StopFlag) -> None:
        elastic_training.train(work / "run", work / "export", stop, spoil=_fall_asleep)

    variables = places(size, UNBROKEN_PEER_TIMEOUT_S="2")
    assert elastic_training.forked(variables, action, work / "log") == [1, 7]
    assert "did not answer in 2 s" in said(work)


def _fall_asleep(_trainer: Trainer, group: Group) -> None:
    if group.rank == 1:
        time.sleep(6)
        os._exit(7)


ENDS = {place: [75, 75] for place in ("join", "start", "step", "save")} | {"end": [0, 0]}


def signalled(place: str, work: Path, alone: Bytes, rank: int = 1) -> None:
    """Only one rank gets the signal; all leave, and the next start ends in the same bytes."""
    assert started(work, 2, {PLANNED_SIGNAL: f"{rank}:TERM@{place}"}) == ENDS[place], said(work)
    assert started(work, 1) == [0]
    assert toy_training.contents(work / "export") == alone


@pytest.mark.long
@pytest.mark.parametrize("place", ENDS)
def test_a_signal_to_one_rank_stops_all(place: str, tmp_path: Path, alone: Bytes) -> None:
    signalled(place, tmp_path, alone)


@pytest.mark.slow
@pytest.mark.parametrize("place", ENDS)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_twenty_times(place: str, rank: int, tmp_path: Path, alone: Bytes) -> None:
    for attempt in range(20):
        work = tmp_path / str(attempt)
        work.mkdir()
        signalled(place, work, alone, rank)


def script(work: Path) -> list[str]:
    return [sys.executable, elastic_training.__file__, str(work / "run"), str(work / "export")]


def launched(work: Path, wanted: str) -> list[int]:
    variables = places(2, **{PLANNED_SIGNAL: wanted})
    processes = [subprocess.Popen(script(work), env={**os.environ, **place}) for place in variables]
    return [process.wait(elastic_training.PATIENCE_S) for process in processes]


@pytest.mark.long
def test_a_signal_to_one_rank_in_its_imports_stops_all(tmp_path: Path) -> None:
    assert launched(tmp_path, "1:TERM@import") == [75, 75]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_signal_to_one_rank_in_its_imports_stops_all_twenty_times(tmp_path: Path) -> None:
    for attempt in range(20):
        assert launched(tmp_path / str(attempt), "1:TERM@import") == [75, 75]


def test_variables_of_srun_bring_processes_together(tmp_path: Path, alone: Bytes) -> None:
    common = {
        "SLURM_NTASKS": "2",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NODELIST": LOOPBACK,
        **QUIET,
    }
    tasks: list[Mapping[str, str]] = [{**common, "SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in range(2)]

    def action(stop: StopFlag) -> None:
        elastic_training.train(tmp_path / "run", tmp_path / "export", stop)

    assert elastic_training.forked(tasks, action, tmp_path / "log") == [0, 0]
    assert toy_training.contents(tmp_path / "export") == alone


@pytest.mark.slow
def test_torchrun_starts_again_after_a_kill(tmp_path: Path, alone: Bytes) -> None:
    options = f"--nnodes=1:1 --nproc-per-node=2 --max-restarts=2 --rdzv-backend=c10d --rdzv-endpoint={LOOPBACK}:"
    command = [sys.executable, "-m", "torch.distributed.run", *f"{options}{find_free_port(LOOPBACK)}".split()]
    done = subprocess.run(
        [*command, *script(tmp_path)[1:]],
        env={**os.environ, PLANNED_SIGNAL: "1:KILL@step", **QUIET},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Going on from step 8" in done.stderr + done.stdout
    assert toy_training.contents(tmp_path / "export") == alone


def sentence_of_all(work: Path, size: int, beginning: str) -> None:
    sentences = [line for line in said(work).splitlines() if line.startswith(beginning)]
    assert len(sentences) == size
    assert len(set(sentences)) == 1


@pytest.mark.usefixtures("alone")
def test_a_locked_folder_ends_all_ranks_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lock = FolderLock(tmp_path / "run", 0.0)
    try:
        assert started(tmp_path, 3) == [1, 1, 1]
    finally:
        lock.release()
    sentence_of_all(tmp_path, 3, "The run folder")


@pytest.mark.usefixtures("alone")
def test_another_identity_ends_all_ranks_with_one_sentence(tmp_path: Path) -> None:
    assert started(tmp_path, 1, {"UNBROKEN_INTERRUPT": "TERM@2"}) == [75]
    (tmp_path / "log").unlink()
    other = Identity({**elastic_training.IDENTITY.parts, "seed": elastic_training.SEED + 1})
    assert started(tmp_path, 2, identity=other) == [2, 2]
    sentence_of_all(tmp_path, 2, "The run folder")


def _drift(trainer: Trainer, group: Group) -> None:
    def spoilt(_optimizer: object, _arguments: object, _names: object) -> None:
        with torch.no_grad():
            trainer.model[0].bias[0] += group.rank

    trainer.optimizer.register_step_post_hook(spoilt)


@pytest.mark.usefixtures("alone")
def test_a_rank_whose_state_drifts_is_refused(tmp_path: Path) -> None:
    assert started(tmp_path, 2, spoil=_drift) == [1, 1]
    refusal = "Rank 1 differs from rank 0 after step 1: tensor model/0.bias."
    assert said(tmp_path).count(refusal) == 2
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def _differ(trainer: Trainer, group: Group) -> None:
    with torch.no_grad():
        trainer.model[0].bias += group.rank


def test_a_rank_that_starts_elsewhere_gets_the_state_of_rank_0(tmp_path: Path, alone: Bytes) -> None:
    assert started(tmp_path, 2, spoil=_differ) == [0, 0]
    assert toy_training.contents(tmp_path / "export") == alone


@pytest.mark.parametrize(("later", "changed"), [("B", True), ("A", False)])
def test_other_numerics_are_reported_and_stay_in_the_result(later: str, changed: bool, tmp_path: Path) -> None:
    run, target, reports = tmp_path / "run", tmp_path / "export", list[str]()
    trained = {"report": reports.append, "files": toy_training.Unsynced()}
    stop = StopFlag()

    def halt(trainer: Trainer, _group: Group) -> None:
        trainer.optimizer.register_step_post_hook(lambda *_given: stop.set("SIGTERM"))

    with pytest.raises(SystemExit):
        elastic_training.train(run, target, stop, spoil=halt, numerics={"gpu": "A"}, **trained)
    elastic_training.train(run, target, StopFlag(), numerics={"gpu": later}, **trained)
    notes = [one for one in events.read_events(run / "events.jsonl") if one["event"] == "numerics"]
    segments = json.loads((target / "manifest.json").read_text())["tree"]["numerics"]
    assert [(one["step"], one["changes"]) for one in notes] == [(2, "gpu 'A' became 'B'")] * changed
    assert sum("Numerics changed at step 2: gpu 'A' became 'B'." in report for report in reports) == changed
    assert str(segments).count("'gpu'") == 1 + changed


@pytest.mark.usefixtures("alone")
def test_different_numerics_of_the_ranks_are_all_named(tmp_path: Path) -> None:
    def action(stop: StopFlag) -> None:
        facts = {"gpu": "AB"[int(os.environ["RANK"])]}
        elastic_training.train(tmp_path / "run", tmp_path / "export", stop, numerics=facts)

    assert elastic_training.forked(places(2), action, tmp_path / "log") == [0, 0]
    assert b'"mixed"' in (tmp_path / "export" / "manifest.json").read_bytes()


@pytest.mark.usefixtures("alone")
def test_only_rank_0_writes(tmp_path: Path) -> None:
    assert started(tmp_path, 2) == [0, 0]
    starts = [one for one in events.read_events(tmp_path / "run" / "events.jsonl") if one["event"] == "start"]
    assert len(starts) == 1
    assert len((tmp_path / "export" / "journal.jsonl").read_bytes().splitlines()) == STEPS


README = Path(unbroken.__file__).with_name("README.md")
EXAMPLES: list[str] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
FIRST, SEVERAL = EXAMPLES[0], next(example for example in EXAMPLES if "join_group" in example)


def example(folder: Path, size: int, interrupt: str) -> list[int]:
    """Run the README's program, with the end that it has for several processes."""
    program = FIRST.partition("folder = ")[0] + SEVERAL

    def action(_stop: StopFlag) -> None:
        exec(compile(program, str(README), "exec"), {"__name__": "__main__"})

    variables = places(size, UNBROKEN_FOLDER=str(folder), UNBROKEN_INTERRUPT=interrupt)
    return elastic_training.forked(variables, action, folder.with_suffix(".log"))


@pytest.mark.long
@pytest.mark.usefixtures("alone")
def test_the_example_of_the_readme_may_be_resized(tmp_path: Path) -> None:
    assert example(tmp_path / "one", 1, "") == [0]
    history = [(2, "TERM@7", [75, 75]), (1, "KILL@33", [-signal.SIGKILL]), (4, "", [0] * 4)]
    for size, interrupt, codes in history:
        assert example(tmp_path / "two", size, interrupt) == codes, (tmp_path / "two.log").read_text()
    final = "checkpoints/step-00000060"
    assert toy_training.contents(tmp_path / "two" / final) == toy_training.contents(tmp_path / "one" / final)


def test_several_processes_cost_ten_lines_at_most() -> None:
    assert 5 < sum("# +" in line for line in SEVERAL.splitlines()) <= 10
