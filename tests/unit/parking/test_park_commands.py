"""What `latentwire park` and `latentwire fetch` print, and their exit codes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire import identities
from latentwire.cli import run
from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.parking import commands
from tests.support import toy_training
from tests.support.parking_machines import ITEM, Machine
from unbroken.run_folder.identity import Identity

ROOT = Path(__file__).parents[3]
OTHER = Identity({"train": {"lr": 0.01, "steps": toy_training.STEPS}, "seed": 3})
Machines = Callable[[str], Machine]


@pytest.fixture
def latentwire(
    machine: Machines, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command on a machine on which `prepare` and `encode` did run."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(here: Machine, *arguments: str) -> tuple[int, str]:
        for module in (commands, identities):
            monkeypatch.setattr(module, "identity_of", lambda *_: here.identity)
        shutil.copy(ROOT / "params.yaml", here.root)
        with pytest.raises(SystemExit) as stop:
            run([*arguments, "--root", str(here.root)])
        captured = capfd.readouterr()
        return int(stop.value.code or 0), captured.out + captured.err

    return call


def test_park_and_fetch(machine: Machines, latentwire: Callable[..., tuple[int, str]]) -> None:
    one, two = machine("one"), machine("two")
    one.train(until=13)
    code, said = latentwire(one, "park", ITEM)
    assert code == 0
    assert f"{ITEM}: step 13 is parked in store (" in said
    code, said = latentwire(two, "fetch", ITEM)
    assert code == 0
    assert f"{ITEM}: step 13 fetched to {two.location.folder}, `dvc repro train@{ITEM}` goes on" in said
    assert latentwire(two, "fetch", ITEM) == (0, f"{ITEM}: step 13 is here already, nothing newer is parked\n")


def test_what_is_not_there_is_an_error_only_where_it_was_named(
    machine: Machines, latentwire: Callable[..., tuple[int, str]]
) -> None:
    one = machine("one")
    for command, why in (("park", "has no state in"), ("fetch", "The DVC remote store has nothing of")):
        for arguments, code, begin in (
            ((ITEM,), 1, "error"),
            ((ITEM, "--optional"), 0, "skipped"),
            (("--all",), 0, ""),
        ):
            found, said = latentwire(one, command, *arguments)
            assert found == code
            assert why in said
            assert said.startswith(begin)


@pytest.mark.parametrize("command", ["park", "fetch"])
def test_before_prepare_has_run_there_is_no_checkpoint_yet(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def identity(*_: object) -> Identity:
        raise ConfigurationError("Nothing is prepared. Next: `dvc repro prepare`.")

    def call(*options: str) -> int:
        with pytest.raises(SystemExit) as stop:
            run([command, "--all", *options, "--root", str(tmp_path)])
        return int(stop.value.code or 0)

    monkeypatch.setattr(commands, "identity_of", identity)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert (call(), call("--optional")) == (2, 0)
    assert capsys.readouterr().err.count("skipped: Nothing is prepared. Next: `dvc repro prepare`.\n") == 1
    (tmp_path / "state" / f"{ITEM}-0123456789ab" / "checkpoints/step-00000010").mkdir(parents=True)
    assert call("--optional") == 2  # it would be lost without a word


def test_items_are_named_or_all(machine: Machines, latentwire: Callable[..., tuple[int, str]]) -> None:
    one = machine("one")
    assert latentwire(one, "park")[0] == 2
    assert "Next: one of wire-rotten_tomatoes-0, " in latentwire(one, "fetch")[1]
    code, said = latentwire(one, "park", "wire-r8-99")
    assert code == 2
    assert "ITEM 'wire-r8-99' is not in params.yaml" in said


def test_what_is_parked_is_listed(machine: Machines, latentwire: Callable[..., tuple[int, str]]) -> None:
    one = machine("one")
    assert latentwire(one, "park", "--list") == (0, "Nothing is parked in the DVC remote store.\n")
    one.train(until=13)
    one.park()
    assert f"{one.identity.short} │ 13   │" in latentwire(one, "park", "--list")[1]
    assert " yes " in latentwire(one, "park", "--list")[1]
    one.identity = OTHER
    assert " no " in latentwire(one, "park", "--list")[1]


def test_what_is_parked_is_known_again_while_other_data_are_not_prepared(
    machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine("one")

    def identity(values: object, item: TrainItem, root: Path) -> Identity:
        if item.task != "r8":
            raise ConfigurationError("Nothing is prepared. Next: `dvc repro prepare`.")
        return OTHER

    shutil.copy(ROOT / "params.yaml", one.root)
    monkeypatch.setattr(identities, "identity_of", identity)
    assert commands._identities(one.root)[ITEM] == f"{ITEM}-{OTHER.short}"


def test_one_refusal_does_not_stop_the_others(machine: Machines, latentwire: Callable[..., tuple[int, str]]) -> None:
    one, two = machine("one"), machine("two")
    one.train(until=13)
    one.park()
    two.identity = OTHER
    code, said = latentwire(two, "fetch", ITEM, "wire-r8-1")
    assert code == 2
    assert "train.lr: 0.05 -> 0.01" in said
    assert "has nothing of wire-r8-1" in said


def test_pointers_alone(machine: Machines, latentwire: Callable[..., tuple[int, str]]) -> None:
    one, two = machine("one"), machine("two")
    one.train(until=13)
    one.park()
    code, said = latentwire(two, "fetch", ITEM, "--pointers")
    assert (code, said) == (0, f"{ITEM}: checkpoints/{ITEM}.dvc names step 13 in store\n")
    pointer = Path("checkpoints") / f"{ITEM}.dvc"
    assert (two.root / pointer).read_bytes() == (one.root / pointer).read_bytes()
    assert not two.location.folder.exists()
