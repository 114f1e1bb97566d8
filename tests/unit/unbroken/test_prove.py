"""`prove` certifies what is sound, finds what is not, and says when it cannot tell."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import inexact_trainings, toy_training
from tests.support.forks import in_child
from unbroken.canonical_json import digest_json
from unbroken.errors import UnbrokenError
from unbroken.filesystem import FileSystem
from unbroken.preemption import StopFlag
from unbroken.prove.certificate import Certificate
from unbroken.prove.command import run_prove_command
from unbroken.prove.drill import PHASES, FaultInjector, Interruption
from unbroken.prove.outputs import compare_outputs
from unbroken.prove.proof import ProofPlan, _Proof, choose_interruptions, run_proof
from unbroken.prove.runs import OverdueError, Program, run_logged
from unbroken.run import Run

FAULTY = [sys.executable, inexact_trainings.__file__]
FRESH = ("SetOrder", "HashOfText")  # only a fresh interpreter has another hash seed


pytestmark = pytest.mark.usefixtures("uninterrupted")  # it has imported all that a fork would import again


def forked(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    """A launch without the import of torch: a fork of this process."""

    def action() -> None:
        os.environ.clear()
        os.environ.update(variables)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if command[1] == toy_training.__file__:
            folder = Path(command[2])
            toy_training.train(folder, folder / "export", StopFlag.install(), files=FileSystem())
        else:
            inexact_trainings.main(command[2])

    return in_child(action)


def certify(tmp_path: Path, command: Sequence[str], **options: Any) -> Certificate:
    sentences: list[str] = []
    return run_proof(
        ProofPlan(**{"command": command, "work": tmp_path / "work", "launch": forked, **options}), sentences.append
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "HashOfText" else ()) for name in inexact_trainings.EXPECTED],
)
def test_a_planted_fault_is_found_and_its_step_is_named(name: str, tmp_path: Path) -> None:
    certificate = certify(
        tmp_path,
        [*FAULTY, name],
        interruptions=[Interruption("TERM", inexact_trainings.STOP)],
        launch=run_logged if name in FRESH else forked,
    )
    assert certificate.exit_code == 3, certificate.sentence
    first = certificate.fields["first_difference"]
    assert first["step"] == inexact_trainings.EXPECTED[name], certificate.sentence
    assert first["places"]


def test_the_corpus_is_large_enough() -> None:
    assert len(inexact_trainings.EXPECTED) >= 25


TOY = [sys.executable, toy_training.__file__, "{folder}"]


def test_a_sound_program_gets_a_certificate(tmp_path: Path) -> None:
    certificate = certify(tmp_path, TOY)
    assert certificate.exit_code == 0, certificate.sentence
    fields = json.loads(certificate.to_json())
    assert [text.partition("@")[0] for text in fields["interruptions"]] == [
        *("TERM", "TERM", "KILL", "KILL", "KILL", "TERM"),
    ]
    assert {text.rpartition("(")[2] for text in fields["interruptions"]} == {"exit 75)", "SIGKILL)"}
    assert [control["part"] for control in fields["controls"]] == ["data", "model", "optimizer", "rng", "schedule"]
    assert fields["runs"]["reference"] == fields["runs"]["interrupted run"]
    assert len(fields["runs"]["reference"]["state"]) == 64
    assert {"python", "torch", "system", "processor", "GPU"} <= fields["environment"].keys()
    seal = fields.pop("seal")
    assert seal == digest_json(fields)
    assert "verdict                   identical" in certificate.to_table()


def test_interruptions_in_every_phase(tmp_path: Path) -> None:
    texts = [
        "TERM@:start",
        "TERM@2",
        "KILL@3:save",
        "KILL@:resume",
        "INT@9",
        "USR1@12:end",
        "KILL@15:end",
        "USR2@20:save",
    ]
    certificate = certify(tmp_path, TOY, interruptions=[Interruption.parse(text) for text in texts], controls=["rng"])
    assert certificate.exit_code == 0, certificate.sentence


@pytest.mark.parametrize("part", ["rng", "optimizer", "schedule", "cursor", "model"])
def test_sabotage_differs_and_names_tensor_and_step(part: str, tmp_path: Path) -> None:
    certificate = certify(tmp_path, TOY, interruptions=[Interruption("TERM", 13)], sabotage=part)
    assert certificate.exit_code == 3
    assert certificate.fields["first_difference"]["step"] == 14
    assert certificate.sentence.startswith("first at step 14: ")


class TestWhatCannotBeVerified:
    def test_a_control_without_effect(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"interruptions": [Interruption("KILL", 6)], "controls": ["cursor", "rng"]}
        command = [*FAULTY, "Stateless"]
        certificate = certify(tmp_path, command, **options)
        assert certificate.exit_code == 4
        assert certificate.sentence == "the negative control did not make a difference: rng"
        options["work"] = tmp_path / "again"
        declared = certify(tmp_path, command, **options, stateless=["rng"])
        assert declared.exit_code == 0
        assert "without rng" in declared.to_table()
        assert "no effect, as declared" in declared.to_table()

    def test_sabotage_without_effect(self, tmp_path: Path) -> None:
        command = [*FAULTY, "Stateless"]
        certificate = certify(tmp_path, command, interruptions=[Interruption("TERM", 6)], sabotage="rng")
        assert certificate.exit_code == 4
        assert "rng was dropped at every resume" in certificate.sentence

    def test_a_program_that_fails(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "raise SystemExit('no data')"]
        certificate = certify(tmp_path, command, launch=run_logged)
        assert certificate.exit_code == 4
        assert certificate.sentence == (
            "the undisturbed run ended with exit 1, expected exit 0; its last line was: no data"
        )

    def test_a_program_without_a_run(self, tmp_path: Path) -> None:
        certificate = certify(tmp_path, [sys.executable, "-c", "pass"], launch=run_logged)
        assert certificate.exit_code == 4
        assert "holds 0 runs with checkpoints, expected one" in certificate.sentence

    def test_an_interruption_that_comes_too_late(self, tmp_path: Path) -> None:
        certificate = certify(tmp_path, TOY, interruptions=[Interruption("TERM", 99)])
        assert certificate.exit_code == 4
        assert certificate.sentence == "the program ended before TERM@99 could reach it"


class Stateless(inexact_trainings.Training):
    """Seeds every step in its own way: the saved generators have no effect."""

    def train(self, step: int) -> dict[str, float]:
        torch.manual_seed(step)
        return super().train(step)


class Streams(inexact_trainings.Training):
    """Seeds every step from the streams of unbroken, which a sabotaged rng loses."""

    def train(self, step: int) -> dict[str, float]:
        inexact_trainings.seed_all(7, step)
        return super().train(step)


inexact_trainings.PROGRAMS |= {"Stateless": Stateless, "Streams": Streams}


class CrashesWithoutGenerators(inexact_trainings.Training):
    """Fails in a control for a reason that has nothing to do with what was dropped."""

    def noise(self, step: int) -> float:
        if step > 6 and "UNBROKEN_SABOTAGE" in os.environ:
            os.write(2, b"MemoryError: no memory for the batch\n")  # a fork's own stderr belongs to pytest
            raise MemoryError
        return 0.0


inexact_trainings.PROGRAMS |= {"CrashesWithoutGenerators": CrashesWithoutGenerators}


@pytest.mark.parametrize("stateless", [[], ["rng"]])
def test_a_control_that_crashes_has_noticed_nothing(stateless: list[str], tmp_path: Path) -> None:
    command, struck = [*FAULTY, "CrashesWithoutGenerators"], [Interruption("TERM", 6)]
    certificate = certify(tmp_path, command, interruptions=struck, controls=["rng"], stateless=stateless)
    assert certificate.exit_code == 4
    assert certificate.sentence.startswith(
        "a negative control came to no end: rng was dropped and the program failed (exit 1); its last lines were: "
    )
    assert certificate.sentence.endswith("MemoryError: no memory for the batch")


def test_a_crash_is_no_proof_that_the_sabotage_was_seen(tmp_path: Path) -> None:
    command, struck = [*FAULTY, "CrashesWithoutGenerators"], [Interruption("TERM", 6)]
    certificate = certify(tmp_path, command, interruptions=struck, sabotage="rng")
    assert certificate.exit_code == 4
    assert "MemoryError: no memory for the batch" in certificate.sentence


class BeginsAnewInTheMiddle(inexact_trainings.Training):
    """What it carries begins anew where an epoch ends, which is also the middle of the run."""

    def prepare(self) -> None:
        self.carried = {"sum": 0.0}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "carried": self.carried}

    def noise(self, step: int) -> float:
        self.carried["sum"] = step + (0.0 if step % 6 == 1 else self.carried["sum"])
        return self.carried["sum"] / 100


inexact_trainings.PROGRAMS |= {"BeginsAnewInTheMiddle": BeginsAnewInTheMiddle}


def test_a_control_that_is_silent_in_the_middle_is_tried_a_step_earlier(tmp_path: Path) -> None:
    command, struck = [*FAULTY, "BeginsAnewInTheMiddle"], [Interruption("TERM", 4)]
    certificate = certify(tmp_path, command, interruptions=struck, controls=["carried", "model"])
    assert certificate.exit_code == 0, certificate.sentence
    assert certificate.fields["controls"][0]["finding"].startswith("differs from step 6: ")


class TestTheFolder:
    """A program that keeps its run elsewhere must not train the run that is there."""

    def test_a_run_elsewhere_is_refused_and_not_touched(self, tmp_path: Path) -> None:
        own, script = tmp_path / "own", tmp_path / "train.py"
        script.write_text(
            "import sys\nfrom pathlib import Path\nfrom tests.support import toy_training\n"
            f"toy_training.train(Path({str(own)!r}), Path({str(own / 'export')!r}))\n"
        )
        toy_training.train(own, own / "export", totals=[8])
        before = files_below(own)
        certificate = certify(tmp_path, [sys.executable, str(script)], launch=run_logged)
        assert certificate.exit_code == 4
        assert f"the program opens the one in {own}. That one was not touched." in certificate.sentence
        assert files_below(own) == before

    def test_a_subfolder_and_a_link_are_where_they_should_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        monkeypatch.setenv("UNBROKEN_TRACE", "1")
        monkeypatch.setenv("UNBROKEN_FOLDER", str(tmp_path / "link"))
        toy_training.train(tmp_path / "real" / "item", tmp_path / "export", totals=[2])
        assert (tmp_path / "real" / "item" / "trace.jsonl").exists()

    @pytest.mark.parametrize("name", ["TRACE", "INTERRUPT", "SABOTAGE", "EVERY"])
    def test_each_variable_of_a_proof_asks_for_its_folder(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UNBROKEN_FOLDER", str(tmp_path / "run"))
        toy_training.train(tmp_path / "run-2", tmp_path / "export", totals=[1])  # in ordinary use it asks for nothing
        monkeypatch.setenv(f"UNBROKEN_{name}", {"INTERRUPT": "TERM@3"}.get(name, "1"))
        with pytest.raises(UnbrokenError, match=r"run-2\. That one was not touched. Next: "):
            toy_training.train(tmp_path / "run-2", tmp_path / "export", totals=[2])


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestTheTimeLimit:
    SLEEPS = ("sh", "-c", "sleep 300 & echo $!; wait")

    def test_all_that_was_started_is_killed(self, tmp_path: Path) -> None:
        with pytest.raises(OverdueError, match=r"took longer than 0\.5 s, expected less, and was killed .* --limit"):
            run_logged(self.SLEEPS, os.environ, tmp_path / "log", 0.5)
        sleeper = Path("/proc") / (tmp_path / "log").read_text().strip()
        until = time.monotonic() + 10
        while sleeper.exists() and "(zombie)" not in (sleeper / "status").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)

    def test_a_program_that_hangs_cannot_be_verified(self, tmp_path: Path) -> None:
        certificate = certify(tmp_path, self.SLEEPS, launch=None, limit_s=0.5)
        assert certificate.exit_code == 4
        assert "was killed with its process group" in certificate.sentence

    def test_it_follows_from_the_undisturbed_run(self, tmp_path: Path) -> None:
        plan = ProofPlan(command=TOY, work=tmp_path, launch=forked, interruptions=[Interruption("TERM", 99)])
        proof = _Proof(plan, lambda _sentence: None)
        assert proof._limit_s == 86400
        proof.run()
        assert 60 < proof._limit_s < 300


def test_a_launcher_that_ends_with_1_for_a_stopped_run_is_asked_through_the_verdict(tmp_path: Path) -> None:
    def launcher(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        return 1 if forked(command, variables, log) else 0  # as torchrun does

    struck = [Interruption.parse(text) for text in ("TERM@9", "INT@12")]
    certificate = certify(tmp_path, TOY, launch=launcher, interruptions=struck, controls=["rng"])
    assert certificate.exit_code == 0, certificate.sentence
    assert certificate.fields["interruptions"] == ["TERM@9 (exit 75)", "INT@12 (exit 75)"]


def test_an_old_verdict_is_no_answer_of_a_program_that_fails_before_its_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").touch()
    (tmp_path / "run" / "verdict.json").write_text('{"exit":75,"signal":"SIGTERM","step":3}')
    assert Program(["train"], None, lambda *_: 1).start(tmp_path / "run") == 1


class ForgottenAverage(inexact_trainings.Training):
    """An average that nothing reads, and that is only saved at the end: no trace shows that it was lost."""

    def prepare(self) -> None:
        self.average = [parameter.detach().clone() for parameter in self.model.parameters()]

    def train(self, step: int) -> dict[str, float]:
        values = super().train(step)
        for average, parameter in zip(self.average, self.model.parameters(), strict=True):
            average.lerp_(parameter.detach(), 0.1)
        if step == inexact_trainings.STEPS:
            (Path(os.environ["UNBROKEN_FOLDER"]) / "average.txt").write_text(str(self.average))
        return values


class WritesAFileForEachStart(inexact_trainings.Training):
    def begin(self, run: Run) -> None:
        (run.folder / "logs").mkdir(exist_ok=True)
        (run.folder / "logs" / f"from-{run.step}.txt").write_text(str(time.time()))


inexact_trainings.PROGRAMS |= {each.__name__: each for each in (ForgottenAverage, WritesAFileForEachStart)}


class TestFiles:
    """What a program saves beside its checkpoints is a result too."""

    def test_a_forgotten_average_is_found_in_what_is_saved_at_the_end(self, tmp_path: Path) -> None:
        certificate = certify(tmp_path, [*FAULTY, "ForgottenAverage"], interruptions=[Interruption("TERM", 6)])
        assert certificate.exit_code == 3, certificate.sentence
        assert certificate.sentence.startswith("first at the end: file average.txt, from byte ")

    def test_files_that_may_differ_are_declared(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"interruptions": [Interruption("TERM", 6)], "controls": ["model"]}
        command = [*FAULTY, "WritesAFileForEachStart"]
        certificate = certify(tmp_path, command, **options)
        assert certificate.exit_code == 3
        assert certificate.sentence.startswith("first at the end: file logs/from-0.txt, from byte ")
        declared = certify(tmp_path, command, **{**options, "work": tmp_path / "again"}, ignored=["logs/from-*"])
        assert declared.exit_code == 0, declared.sentence
        assert declared.fields["ignored"] == ["logs/from-*"]
        assert declared.fields["files"] == 2  # identity.json and journal.jsonl

    def test_places(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first" / "run", tmp_path / "second" / "run"
        for home, end in ((first, b"1"), (second, b"22")):
            (home / "checkpoints" / f"step-{end.decode()}").mkdir(parents=True)
            for name in ("lock", "events.jsonl", "verdict.json", "trace.jsonl", "checkpoints/x", "a", "b", "sub/lock"):
                (home / name).parent.mkdir(exist_ok=True)
                (home / name).write_bytes(b"0" * (1 << 20) + (b"" if name == "a" else end))
        (first / "only").touch()
        (second / ".tmp-verdict.json").touch()
        (second / "lock-of-mine").touch()
        assert compare_outputs(first.parent, second.parent) == (
            5,
            [
                "file run/b, from byte 1048576",
                "file run/lock-of-mine, which only the interrupted run has",
                "file run/only, which only the undisturbed run has",
                "file run/sub/lock, from byte 1048576",
            ],
        )


def test_numbers_that_no_checkpoint_holds_are_under_control_too(tmp_path: Path) -> None:
    certificate = certify(tmp_path, [*FAULTY, "Streams"], interruptions=[Interruption("TERM", 6)], sabotage="rng")
    assert certificate.exit_code == 3
    assert certificate.fields["first_difference"]["step"] == 7


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = tmp_path / "certificate.json"
    options = ["--certificate", str(certificate), "--work", str(tmp_path / "work")]
    assert run_prove_command(["prove", *options, "--", "sh", "-c", "echo no data; exit 1"]) == 4
    assert json.loads(certificate.read_bytes())["verdict"] == "could not be verified"
    assert certificate.with_suffix(".txt").read_text() in capsys.readouterr().out
    assert run_prove_command(["prove", *options, "--", "true"]) == 2
    assert "is not empty. Next: name a new folder." in capsys.readouterr().err
    assert run_prove_command(["prove"]) == 2
    assert run_prove_command(["prove", "--at", "HUP@1", "--", "true"]) == 2
    assert "'HUP@1' is no interruption, expected SIGNAL@STEP" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_in_real_processes(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.json"
    options = ["--at", "TERM@9", "--controls", "rng", "--certificate", str(certificate)]
    assert run_prove_command(["prove", *options, "--", *TOY, "{folder}/export"]) == 0
    assert json.loads(certificate.read_bytes())["verdict"] == "identical"


@pytest.mark.parametrize("rank", [None, 2])
def test_a_program_of_several_processes_is_told_which_of_them_is_struck(rank: int | None, tmp_path: Path) -> None:
    told: list[Mapping[str, str]] = []

    def started(_command: Sequence[str], variables: Mapping[str, str], _log: Path) -> int:
        told.append(variables)
        return 0

    Program(["train"], None, started, rank).start(tmp_path / "run", interrupt="KILL@3")
    assert told[0].get("UNBROKEN_INTERRUPT_RANK") == (None if rank is None else "2")
    assert told[0]["UNBROKEN_INTERRUPT"] == "KILL@3"


@pytest.mark.parametrize(("rank", "verdict"), [(None, "could not be verified"), (0, "identical")])
def test_a_launcher_that_ends_with_1_when_its_process_is_killed_counts_as_killed_when_a_rank_is_named(
    rank: int | None, verdict: str, tmp_path: Path
) -> None:
    def launcher(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        status = forked(command, variables, log)
        return 1 if status < 0 else status

    struck = [Interruption.parse("KILL@9")]
    certificate = certify(tmp_path, TOY, launch=launcher, rank=rank, interruptions=struck, controls=["rng"])
    assert certificate.verdict == verdict


def test_random_interruptions_are_ascending_repeatable_and_in_all_phases() -> None:
    first = choose_interruptions(40, 10, seed=3)
    assert first == choose_interruptions(40, 10, seed=3)
    assert first != choose_interruptions(40, 10, seed=4)
    steps = [interruption.step for interruption in first if interruption.step]
    assert len(steps) == 10
    assert steps == sorted(set(steps))
    assert {interruption.phase for interruption in first} == set(PHASES)
    assert [str(interruption) for interruption in choose_interruptions(3, 10, seed=0)] == ["TERM@1", "TERM@2"]
    assert choose_interruptions(1, 4, seed=0) == []


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("total", [2, 5, 12, 60])
def test_every_part_of_a_run_is_interrupted_and_last_of_all_before_the_last_step(total: int, count: int) -> None:
    for seed in range(20):
        chosen = choose_interruptions(total, count, seed)
        steps = [each.step for each in chosen if each.step]
        assert len(steps) == min(count, total - 1)
        assert (chosen[-1].signal, steps[-1]) == ("TERM", total - 1)
        gaps = [after - before for before, after in pairwise([0, *steps])]
        assert min(gaps) > 0
        assert max(gaps) <= 2 * (-(-total // max(1, count - 1)))


@pytest.mark.parametrize("text", ["TERM", "TERM@", "TERM@5:resume", "KILL@x", "KILL@:save", "STOP@3"])
def test_what_is_no_interruption_is_refused(text: str) -> None:
    with pytest.raises(UnbrokenError, match="is no interruption, expected SIGNAL@STEP"):
        Interruption.parse(text)


def test_unknown_sabotage_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBROKEN_SABOTAGE", "teacher")
    with pytest.raises(UnbrokenError, match="Nothing in the state is 'teacher'; it has cursor and rng"):
        FaultInjector(tmp_path).dropped_parts({"cursor": {}})


def test_tracing_changes_no_byte(
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBROKEN_TRACE", "1")
    toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    lines = (tmp_path / "run" / "trace.jsonl").read_bytes().splitlines()
    assert len(lines) == toy_training.STEPS
    exported = json.loads(uninterrupted["manifest.json"])["tensors"]
    assert json.loads(lines[-1])["tensors"] == {name: entry["sha256"] for name, entry in exported.items()}
