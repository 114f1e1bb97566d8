"""Without `Run(numerics=…)`, a change of torch, threads, processor or GPU is reported and kept, and costs no resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import elastic_training, toy_training
from tests.support.elastic_training import places
from tests.support.forks import in_child
from unbroken import environment, run_numerics
from unbroken.checkpoint.tree import Decoder
from unbroken.exact.group import SOLO, Group
from unbroken.preemption import StopFlag
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof
from unbroken.run import Run
from unbroken.run_folder import events
from unbroken.run_folder.identity import Identity

STOP_AT = 10


@pytest.fixture(autouse=True)
def threads_that_are_only_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of a process that has really used several threads hangs, and other tests fork this one."""
    threads = [torch.get_num_threads()]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)


def segments_in(folder: Path) -> list[dict[str, Any]]:
    """The segments in the manifest of a checkpoint or an export; without numerics, none."""
    tree = json.loads((folder / "manifest.json").read_text())["tree"]
    segments: list[dict[str, Any]] = Decoder({}).decode(tree["numerics"])["segments"] if "numerics" in tree else []
    return segments


def with_threads(count: int, since: int = 1, stop_at: int = 0) -> toy_training.Hook:
    """The program sets this number of threads in a step; perhaps it is stopped in one."""

    def hook(run: Run, step: int) -> None:
        if step >= since:
            torch.set_num_threads(count)
        if step == stop_at:
            run.stop.set("SIGTERM")

    return hook


def begin(work: Path, **options: Any) -> None:
    """A start that is stopped after step 10, on one thread."""
    with pytest.raises(SystemExit):
        toy_training.train(work / "run", work / "export", hook=toy_training.stop_at(STOP_AT), **options)


def go_on(work: Path, **options: Any) -> tuple[list[str], list[dict[str, Any]], list[tuple[int, str]]]:
    """A start to the end: sentences on numerics, segments of the export, and events as (step, changes)."""
    reports = toy_training.train(work / "run", work / "export", **options)
    noted = [one for one in events.read_events(work / "run" / "events.jsonl") if one["event"] == "numerics"]
    return (
        [report for report in reports if "Numerics" in report],
        segments_in(work / "export"),
        [(one["step"], one["changes"]) for one in noted],
    )


def test_what_is_recorded_by_default(tmp_path: Path) -> None:
    (segment,) = go_on(tmp_path)[1]
    assert segment["first"] == 1
    assert segment["facts"] == {
        "torch": str(torch.__version__),
        "threads": 1,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": environment.processor_vendor(),
    }


def test_a_resume_on_other_threads_is_reported_and_stays_in_the_result(tmp_path: Path) -> None:
    begin(tmp_path)
    sentences, segments, noted = go_on(tmp_path, hook=with_threads(2))
    assert len(sentences) == 1
    assert sentences[0].startswith("Numerics changed at step 11: threads 1 became 2. The run goes on;")
    assert [(one["first"], one["facts"]["threads"]) for one in segments] == [(1, 1), (11, 2)]
    assert noted == [(11, "threads 1 became 2")]


def test_a_resume_on_the_same_is_no_change(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    begin(tmp_path)
    assert go_on(tmp_path)[::2] == ([], [])
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_what_the_program_sets_in_its_first_step_is_no_change_of_a_resume(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):  # each start opens the run on one thread
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=with_threads(2, stop_at=STOP_AT))
    sentences, segments, _ = go_on(tmp_path, hook=with_threads(2))
    assert sentences == []
    assert [(one["first"], one["facts"]["threads"]) for one in segments] == [(1, 2)]


def test_a_change_inside_the_loop_is_named_with_its_step(tmp_path: Path) -> None:
    sentences, segments, noted = go_on(tmp_path, hook=with_threads(2, since=17))
    assert [(one["first"], one["facts"]["threads"]) for one in segments] == [(1, 1), (17, 2)]
    assert noted == [(17, "threads 1 became 2")]
    assert len(sentences) == 1


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    begin(tmp_path, numerics={})
    assert segments_in(tmp_path / "run" / "checkpoints" / f"step-{STOP_AT:08d}") == []
    sentences, segments, _ = go_on(tmp_path)
    assert (sentences, [one["first"] for one in segments]) == ([], [11])


def test_named_numerics_may_be_added_to_a_run(tmp_path: Path) -> None:
    begin(tmp_path, numerics={})
    assert go_on(tmp_path, numerics={"gpu": "A"})[1] == [{"first": 11, "facts": {"gpu": "A"}}]


def test_none_from_the_start_leaves_no_trace(tmp_path: Path) -> None:
    begin(tmp_path, numerics={})
    assert go_on(tmp_path, numerics={}, hook=with_threads(2)) == ([], [], [])
    assert "numerics" not in json.loads((tmp_path / "export" / "manifest.json").read_text())["tree"]


def test_none_from_here_on_goes_on_and_keeps_what_was_recorded(tmp_path: Path) -> None:
    begin(tmp_path)
    sentences, segments, _ = go_on(tmp_path, numerics={})
    assert [one["first"] for one in segments] == [1, 11]
    assert segments[1]["facts"] == {}
    assert "threads 1 became None" in sentences[0]


@pytest.mark.parametrize("numerics", [None, {"gpu": "A"}])
def test_a_part_of_that_name_is_refused(numerics: dict[str, Any] | None, tmp_path: Path) -> None:
    state: dict[str, Any] = {"numerics": {"at": 0}}
    with pytest.raises(ValueError, match=r"may not be called 'numerics'.*Run\(numerics=\{\}\)"):
        Run(tmp_path, identity=Identity({}), state=state, stop=StopFlag(), numerics=numerics)
    assert not any(tmp_path.iterdir())


def test_a_part_of_that_name_is_the_program_s_own_without_numerics(tmp_path: Path) -> None:
    own: dict[str, Any] = {"numerics": {"at": 0}}
    settings: dict[str, Any] = {"identity": Identity({}), "numerics": {}, "lock_timeout": 0.0}
    with Run(tmp_path, state=own, stop=StopFlag(), **settings) as run:
        for own["numerics"]["at"] in run.steps(3):
            pass
    again: dict[str, Any] = {"numerics": {"at": 0}}
    with Run(tmp_path, state=again, stop=StopFlag(), **settings):
        assert again["numerics"]["at"] == 3


def test_different_numerics_of_the_ranks_are_all_named_and_change_together(tmp_path: Path) -> None:
    def action(stop: StopFlag) -> None:
        def set_threads(trainer: elastic_training.Trainer, group: Group) -> None:
            def hook(*_given: object) -> None:
                torch.set_num_threads(1 + group.rank if trainer.schedule.last_epoch < 5 else 1)

            trainer.optimizer.register_step_post_hook(hook)

        elastic_training.train(tmp_path / "run", tmp_path / "export", stop, spoil=set_threads)

    assert elastic_training.forked(places(2), action, tmp_path / "log") == [0, 0], (tmp_path / "log").read_text()
    (segment,) = segments_in(tmp_path / "export")
    assert [facts["threads"] for facts in segment["facts"]["mixed"]] == [1, 2]


def test_a_gpu_counts_from_the_step_that_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    numerics = run_numerics.RunNumerics(None)
    assert numerics.look_again(0, SOLO) is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H200")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91200)
    assert numerics.look_again(1, SOLO) == "cuda None became '13.0', cudnn None became 91200, gpu None became 'H200'"
    assert [one["first"] for one in numerics.segments] == [1, 2]


def test_ranks_that_differ_stay_apart_when_all_change() -> None:
    class Pair(type(SOLO)):  # type: ignore[misc]
        def all_gather_bytes(self, payload: bytes) -> list[bytes]:
            return [payload, payload.replace(b'"A"', b'"B"')]

    facts = [{"gpu": "A", "threads": 1}, {"gpu": "A", "threads": 1}, {"gpu": "A", "threads": 4}]
    numerics = run_numerics.RunNumerics(None, lambda: facts.pop(0))
    for step in range(3):
        numerics.look_again(step, Pair())
    assert [one["first"] for one in numerics.segments] == [1, 3]
    assert numerics.segments[1]["facts"] == {"mixed": [{"gpu": "A", "threads": 4}, {"gpu": "B", "threads": 4}]}


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.long
def test_prove_sees_starts_on_different_numbers_of_threads(tmp_path: Path) -> None:
    def launch(command: Any, variables: Any, log: Path) -> int:
        log.touch()  # starts are counted by their logs

        def action() -> None:
            os.environ.update(variables)
            hook = with_threads(2 if log.stem == "interrupted-2" else 1)
            toy_training.train(Path(command[0]), Path(command[0]) / "export", StopFlag.install(), hook=hook)

        return in_child(action)

    plan = ProofPlan(
        command=["{folder}"],
        work=tmp_path / "work",
        launch=launch,
        interruptions=[Interruption("TERM", STOP_AT)],
        controls=(),
    )
    certificate = run_proof(plan, lambda _sentence: None)
    assert certificate.exit_code == 3, certificate.sentence
    assert certificate.fields["first_difference"]["step"] == 11
    assert "numerics/segments" in certificate.sentence


PROGRAM = """
import sys
from pathlib import Path
from unbroken import Identity, Run, StopFlag
stop = StopFlag.install()
with Run(Path(sys.argv[1]), identity=Identity({}), state={"cursor": {"at": 0}}, stop=stop) as run:
    for step in run.steps(6):
        if step == int(sys.argv[2]):
            stop.set("SIGTERM")
"""


@pytest.mark.long
def test_one_and_two_threads_from_the_environment(tmp_path: Path) -> None:
    said = ""
    for threads, stop_at, code in ((1, 2, 75), (2, 4, 75), (2, 0, 0)):
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), str(stop_at)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        said += done.stderr
    assert said.count("Numerics changed") == said.count("Numerics changed at step 3: threads 1 became 2.") == 1
    segments = segments_in(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert [(one["first"], one["facts"]["threads"]) for one in segments] == [(1, 1), (3, 2)]


def test_vendor_of_this_processor() -> None:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert environment.processor_vendor() in text or environment.processor_vendor() == os.uname().machine
