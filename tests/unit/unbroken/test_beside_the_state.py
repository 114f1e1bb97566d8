"""What a program holds beside its state: `prove` names what an interruption loses of it, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import inexact_trainings, programs_with_containers, programs_with_extras
from tests.support.forks import start_as_program
from tests.support.programs_with_extras import HARMLESS, LOST
from unbroken.prove.beside import LostObject, find_lost_objects
from unbroken.prove.census import take_census
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof
from unbroken.prove.runs import Program, RunEvidence, compare_runs

pytestmark = [pytest.mark.usefixtures("uninterrupted"), pytest.mark.long]


def forked(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    return start_as_program(variables, log, lambda: inexact_trainings.main(command[-1]))


def find_lost(name: str, work: Path, stops: Sequence[str] = ("TERM@5", "TERM@11")) -> list[LostObject]:
    program = Program([name], 2, forked)
    assert program.start(work / "reference") == 0
    for stop in stops:
        assert program.start(work / "run", interrupt=stop) == 75
    assert program.start(work / "run") == 0
    reference, run = RunEvidence(work / "reference"), RunEvidence(work / "run")
    assert compare_runs(reference, run) is None, "the states differ: that is another test"
    return find_lost_objects(reference.censuses, run.censuses)


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_named(name: str, tmp_path: Path) -> None:
    lost = [each for each in find_lost(name, tmp_path) if each.has_failed]
    assert any(each.matches(LOST[name]) for each in lost), lost
    assert len(lost) <= 2, lost


@pytest.mark.parametrize("name", HARMLESS)
def test_nothing_else_is_named(name: str, tmp_path: Path) -> None:
    assert [each for each in find_lost(name, tmp_path) if each.has_failed] == []


def test_the_corpora_are_large_enough() -> None:
    assert len(LOST) >= 8
    assert len(HARMLESS) >= 8
    assert {*LOST, *HARMLESS} >= programs_with_containers.REGISTERED


def test_a_metric_is_seen_and_not_judged(tmp_path: Path) -> None:
    (lost,) = find_lost("ValidationMetric", tmp_path)
    assert lost.describe().startswith("not judged: Accuracy, not in the state; ends otherwise after interruptions at ")


def certify(work: Path, name: str, **options: Any) -> Any:
    struck = [Interruption("TERM", 6)]
    plan = ProofPlan(command=[name], work=work, interruptions=struck, controls=["model"], launch=forked, **options)
    return run_proof(plan, lambda _sentence: None)


def test_a_certificate_is_refused_unless_it_is_declared(tmp_path: Path) -> None:
    certificate = certify(tmp_path / "first", "AverageAsAModule")
    assert certificate.exit_code == 4
    assert certificate.sentence.startswith("not in the state, and not the same at the end after interruptions: ")
    assert "average (AveragedModel, at " in certificate.sentence
    for word in ("average", "program.average", "AveragedModel"):
        declared = certify(tmp_path / word, "AverageAsAModule", stateless=[word])
        assert declared.exit_code == 0, declared.sentence
        assert "declared: AveragedModel, not in the state" in declared.to_table()
    assert certify(tmp_path / "other", "AverageAsAModule", stateless=["averag"]).exit_code == 4


def test_best_weights_in_a_dict_stand_against_a_certificate(tmp_path: Path) -> None:
    certificate = certify(tmp_path / "first", "BestInADict")
    assert certificate.exit_code == 4
    assert "program.best['weights'] (dict, at " in certificate.sentence
    assert certify(tmp_path / "declared", "BestInADict", stateless=["best"]).exit_code == 0


def test_what_a_part_of_the_state_does_not_give_is_declared_place_by_place(tmp_path: Path) -> None:
    name = "BuffersThatAreNotPersistent"
    certificate = certify(tmp_path / "first", name)
    assert certificate.exit_code == 4
    assert "`model` is in the state, but its `state_dict` does not give this" in certificate.sentence
    assert "put it into `state`" not in certificate.sentence
    advised = certificate.sentence.rpartition("--stateless ")[2].split(",")
    assert advised == ["model.heat", "model.hits"]
    for words in (["model"], ["Sequential"], ["heat"]):
        again = certify(tmp_path / words[0], name, stateless=words)
        assert again.exit_code == 4
        assert ("model.heat" in again.sentence) is (words != ["heat"])
    declared = certify(tmp_path / "declared", name, stateless=advised)
    assert declared.exit_code == 0, declared.sentence
    assert "declared: Sequential, not in its `state_dict`" in declared.to_table()


def test_a_part_of_the_state_that_is_declared_declares_no_object(tmp_path: Path) -> None:
    class Rng(programs_with_extras.TorchGenerator):
        @property
        def rng(self) -> Any:
            return self.previews

        def prepare(self) -> None:
            super().prepare()
            self.__dict__["rng"] = self.__dict__.pop("previews")
            self.__dict__["previews"] = self.__dict__["rng"]

    inexact_trainings.PROGRAMS["Rng"] = Rng
    assert certify(tmp_path, "Rng", stateless=["rng"]).exit_code == 4


class Hostile:
    """A proxy that does something whenever it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"looked at {name}")

    __class__ = property(lambda self: (_ for _ in ()).throw(AssertionError("looked at")))  # type: ignore[assignment]


def test_a_census_runs_no_code_of_the_program_and_keeps_nothing_alive() -> None:
    hostile, kept = [Hostile()], torch.ones(2)
    before = sys.getrefcount(kept)
    census = take_census({}, [])
    assert "test_a_census_runs_no_code_of_the_program_and_keeps_nothing_alive.kept" in census.entries
    assert sys.getrefcount(kept) == before
    assert hostile


def test_local_variables_that_the_program_keeps_are_left_to_it() -> None:
    kept = torch.ones(2)
    mine = locals()
    take_census({}, [])
    assert mine["kept"] is kept


def test_what_is_beyond_the_limit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    large = torch.zeros(1000)
    name = "test_what_is_beyond_the_limit_is_left_out_and_said.large"
    assert name in take_census({}, []).entries
    assert name not in take_census({}, [], largest=3999).entries
    monkeypatch.setattr("unbroken.prove.census.MOST_OBJECTS", 1)
    assert take_census({}, []).is_cut
    assert large.sum() == 0


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_certificate_says_that_not_all_was_looked_at(
    is_cut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_cut:
        monkeypatch.setattr("unbroken.prove.census.MOST_OBJECTS", 20)
    certificate = certify(tmp_path, next(iter(HARMLESS)))
    said = "beside the state not all was looked at"
    assert certificate.exit_code == 0, certificate.sentence
    assert json.loads(certificate.to_json())["census_cut"] is is_cut
    assert (said in certificate.sentence, certificate.to_table().count(said)) == ((True, 2) if is_cut else (False, 0))


def test_what_only_a_running_loop_holds_is_seen() -> None:
    script = (
        "import torch\nfrom unbroken.prove.census import take_census\n"
        "def stream():\n    own = torch.Generator()\n    while True:\n        yield torch.rand(2, generator=own)\n"
        "class Loader:\n"
        "    def __init__(self):\n        self.seen = torch.zeros(2)\n"
        "    def __iter__(self):\n        return self\n"
        "    def __next__(self):\n        return 1\n"
        "for _ in stream():\n    for _ in Loader():\n"
        "        print(sorted(take_census({}, []).entries))\n        break\n    break\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'stream().own'" in shown
    assert "'Loader().seen'" in shown
