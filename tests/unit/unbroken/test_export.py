"""Where a result is exported to: nothing that stands there already is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import toy_training
from unbroken.errors import UnbrokenError

EXPORTED = {"journal.jsonl", "manifest.json", "tensors.safetensors"}


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_files_of_a_folder_stay(tmp_path: Path) -> None:
    target = tmp_path / "results"
    (target / "figures").mkdir(parents=True)
    (target / "figures" / "loss.png").write_bytes(b"a week of work")
    (target / "manifest.json").write_bytes(b"of an older export")
    toy_training.train(tmp_path / "run", target)
    toy_training.train(tmp_path / "other", tmp_path / "alone")
    found = read_all(target)
    assert found.pop("figures/loss.png") == b"a week of work"
    assert found == read_all(tmp_path / "alone")
    assert found.keys() == EXPORTED


def test_an_older_export_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "results"
    target.mkdir()
    for name in EXPORTED:
        (target / name).write_bytes(b"old")
    before = target.stat().st_ino
    toy_training.train(tmp_path / "run", target)
    assert target.stat().st_ino != before
    assert b"old" not in read_all(target).values()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "run"]


def test_a_link_leads_to_where_the_files_go(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "results").symlink_to("large disk")
    toy_training.train(tmp_path / "run", tmp_path / "results")
    assert (tmp_path / "results").is_symlink()
    assert read_all(tmp_path / "large disk").keys() == EXPORTED


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/best", "pins/best"])
def test_the_folder_of_a_run_is_no_target(place: str, tmp_path: Path) -> None:
    toy_training.train(tmp_path / "run", tmp_path / "export")
    before = read_all(tmp_path / "run" / "checkpoints")
    with pytest.raises(UnbrokenError, match=r"keeps its own files\. Nothing was changed\. Next: name another folder"):
        toy_training.train(tmp_path / "run", tmp_path / "run" / place)
    assert read_all(tmp_path / "run" / "checkpoints") == before


def test_a_folder_below_that_of_the_run_is_one(tmp_path: Path) -> None:
    toy_training.train(tmp_path / "run", tmp_path / "run" / "final")
    assert read_all(tmp_path / "run" / "final").keys() == EXPORTED


def test_a_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "export").write_text("notes")
    with pytest.raises(UnbrokenError, match=r"which is no folder\. Nothing was changed\. Next: name another"):
        toy_training.train(tmp_path / "run", tmp_path / "export")
    assert (tmp_path / "export").read_text() == "notes"
