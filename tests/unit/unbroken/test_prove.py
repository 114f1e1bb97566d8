"""`prove` certifies what is sound, finds what is not, and says when it cannot tell."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import inexact_trainings, toy_training
from tests.support.proofs import FAULTY, TOY, certify, forked
from unbroken.canonical_json import digest_json
from unbroken.errors import UnbrokenError
from unbroken.prove.drill import FaultInjector, Interruption
from unbroken.prove.runs import run_logged

FRESH = {"SetOrder": pytest.mark.long, "HashOfText": pytest.mark.slow}  # only a fresh interpreter has another hash seed


pytestmark = pytest.mark.usefixtures("uninterrupted")  # it has imported all that a fork would import again


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=FRESH.get(name, ())) for name in inexact_trainings.EXPECTED],
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("part", ["rng", "optimizer", "schedule", "cursor", "model"])
def test_sabotage_differs_and_names_tensor_and_step(part: str, tmp_path: Path) -> None:
    certificate = certify(tmp_path, TOY, interruptions=[Interruption("TERM", 13)], sabotage=part)
    assert certificate.exit_code == 3
    assert certificate.fields["first_difference"]["step"] == 14
    assert certificate.sentence.startswith("first at step 14: ")


class TestWhatCannotBeVerified:
    @pytest.mark.long
    def test_a_control_without_effect(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"interruptions": [Interruption("KILL", 6)], "controls": ["cursor", "rng"]}
        command = [*FAULTY, "Stateless"]
        certificate = certify(tmp_path, command, **options)
        assert certificate.exit_code == 4
        assert certificate.sentence.startswith("the negative control did not make a difference: rng. Next: ")
        assert certificate.sentence.endswith("declare that with --stateless rng")
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

    @pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_a_control_that_is_silent_in_the_middle_is_tried_a_step_earlier(tmp_path: Path) -> None:
    command, struck = [*FAULTY, "BeginsAnewInTheMiddle"], [Interruption("TERM", 4)]
    certificate = certify(tmp_path, command, interruptions=struck, controls=["carried", "model"])
    assert certificate.exit_code == 0, certificate.sentence
    assert certificate.fields["controls"][0]["finding"].startswith("differs from step 6: ")


def test_numbers_that_no_checkpoint_holds_are_under_control_too(tmp_path: Path) -> None:
    certificate = certify(tmp_path, [*FAULTY, "Streams"], interruptions=[Interruption("TERM", 6)], sabotage="rng")
    assert certificate.exit_code == 3
    assert certificate.fields["first_difference"]["step"] == 7


def test_unknown_sabotage_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBROKEN_SABOTAGE", "teacher")
    with pytest.raises(UnbrokenError, match="Nothing in the state is 'teacher'; it has cursor and rng"):
        FaultInjector(tmp_path).dropped_parts({"cursor": {}})


@pytest.mark.long
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
