"""A few faults of each kind in every run of the suite; every operation, and an outside judge, in the slow one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.chaos.campaign import format_campaign, run_campaign, run_trial
from tests.chaos.faults import KINDS, operations
from tests.chaos.judge import Judgement, judge, main, stage_subject, toy_subject
from tests.chaos.judge import table as table_of_judgements
from tests.chaos.trial import Disk, Trial
from tests.support import toy_training
from unbroken.checkpoint import tensorfile

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("reference")
    toy_training.train(root / "run", root / "export")
    return toy_training.contents(root / "export")


def test_every_kind_of_fault_once(tmp_path: Path) -> None:
    results = run_campaign(len(KINDS), 0, tmp_path, list(KINDS), lambda _index, _: None)
    assert [result for result in results if result.outcome != "recovered"] == []
    assert format_campaign(results, 0).splitlines()[-2].split() == ["all", *[str(len(KINDS))] * 2, "0", "0", "0", "0"]


def test_negative_control_a_store_that_does_not_check_is_caught(
    tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check of the digests damage goes through: the campaign must say so."""

    monkeypatch.setattr(tensorfile, "_check_digests", lambda *_arguments: None)
    monkeypatch.setitem(KINDS, "bit flip", flipped_in_the_middle)
    result = run_trial("bit flip", "0", tmp_path / "trial", expected)
    assert result.outcome == "used damaged data"


def flipped_in_the_middle(trial: Trial) -> set[int]:
    """A flip in a weight, which looks like any other number."""
    trial.stopped()
    path = trial.checkpoints[-1] / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin + json.loads(data[8:begin])["model/0.weight"]["data_offsets"][0]] ^= 1
    path.write_bytes(data)
    return {int(path.parent.name[5:])}


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True], ids=["save", "resume"])
@pytest.mark.parametrize("fault", ["kill-before", "kill-after", "ENOSPC", "EIO"])
def test_every_operation(fault: str, resumed: bool, tmp_path: Path, expected: dict[str, bytes]) -> None:
    """Each file operation of a whole run and of a resume in turn: recovered from, in the right bytes."""
    chance = random.Random(0)
    counted = operations(Trial(tmp_path / "count", chance), resumed, every=20)
    for operation, count in sorted(counted.items()):
        for occurrence in range(1, count + 1):
            trial = Trial(tmp_path / f"{operation}-{occurrence}", chance)
            if resumed:
                trial.stopped(at=38)
            trial.start(files=Disk(operation, occurrence, fault), every=20, background=False)
            where = f"{fault} at {operation} {occurrence}"
            assert trial.start(files=Disk()) == 0, f"{where}: {trial.log.read_text()[-500:]}"
            assert toy_training.contents(trial.target) == expected, where


def test_an_outside_judge_finds_some_boundaries_clean(tmp_path: Path) -> None:
    judgements = judge(toy_subject(), tmp_path / "judged", points=2, modes=["before", "term"])
    assert len(judgements) == 3, "one of each mode, and the control"
    assert [one for one in judgements if not one.clean] == []


def test_the_judge_without_a_name_judges_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make chaos-judge` calls it."""
    monkeypatch.setattr("tests.chaos.judge.stage_subject", lambda root: toy_subject())
    monkeypatch.setattr("tests.chaos.judge.judge", lambda *_: [Judgement("x [before]", "PASS", True, True)])
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "toy: 1 of 1 boundaries clean" in said
    assert "stage: 1 of 1 boundaries clean" in said
    assert main(["stage"]) == 0
    assert "toy" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["tay"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy", "stage"])
def test_an_outside_judge_finds_every_boundary_clean(name: str, tmp_path: Path) -> None:
    """`ckpt-chaos` kills an unmodified program at its file events and judges the resume."""
    subject = toy_subject() if name == "toy" else stage_subject(tmp_path / "workspace")
    judgements = judge(subject, tmp_path / "judged")
    assert all(one.clean for one in judgements), table_of_judgements(name, judgements)
