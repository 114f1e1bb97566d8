"""The metric history: checksums, torn lines, truncation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from unbroken.errors import CheckpointError
from unbroken.filesystem import FileSystem
from unbroken.run_folder import journal
from unbroken.run_folder.journal import Journal


@pytest.fixture
def written(tmp_path: Path) -> Path:
    book = Journal(tmp_path / "journal.jsonl", FileSystem(), pytest.fail)
    for step in range(1, 6):
        book.append(step, {"train/loss": 1 / step, "lr": 0.1, "done": step == 5, "note": None})
    return tmp_path / "journal.jsonl"


def test_lines_are_json_and_floats_are_exact(written: Path) -> None:
    first = written.read_text().splitlines()[2]
    assert list(json.loads(first)) == ["step", "done", "lr", "note", "train/loss", "crc"]
    assert journal.read_journal(written)[2] == {
        "step": 3,
        "done": False,
        "lr": 0.1,
        "note": None,
        "train/loss": 1 / 3,
    }


def test_numbers_of_all_kinds() -> None:
    values = {"a": torch.tensor(0.5), "b": np.float32(0.25), "c": math.nan, "d": -math.inf, "e": np.int64(3)}
    (record,) = journal.parse_journal(journal.encode_record(1, values), "here")
    assert repr(record) == "{'step': 1, 'a': 0.5, 'b': 0.25, 'c': nan, 'd': -inf, 'e': 3}"
    assert json.loads(journal.encode_record(1, values))["d"] == "-Infinity"


@pytest.mark.parametrize(("key", "value"), [("a", "text"), ("a", [1]), ("step", 1), ("crc", 2)])
def test_what_is_no_metric_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match="metric"):
        journal.encode_record(1, {key: value})


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_is_left_out(written: Path, cut: int) -> None:
    written.write_bytes(written.read_bytes()[:-cut])
    assert [record["step"] for record in journal.read_journal(written)] == [1, 2, 3, 4]


def test_a_damaged_line_is_named(written: Path) -> None:
    written.write_bytes(written.read_bytes().replace(b"0.5", b"0.6"))
    with pytest.raises(CheckpointError, match=rf"Line 2 of {written} is damaged or is not step 2"):
        journal.read_journal(written)


def test_a_missing_line_is_named(written: Path) -> None:
    lines = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(CheckpointError, match="Line 3"):
        journal.read_journal(written)


def test_truncation_cuts_in_place(written: Path) -> None:
    inode, lines = written.stat().st_ino, written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join(lines) + b'{"step": 6, "tr')
    book = Journal(written, FileSystem(), pytest.fail)
    book.truncate(b"".join(lines[:3]))
    assert written.read_bytes() == b"".join(lines[:3])
    assert written.stat().st_ino == inode
    book.append(4, {"again": 1})
    assert journal.read_journal(written)[3] == {"step": 4, "again": 1}


def test_a_damaged_or_lost_file_is_restored_from_the_checkpoint(written: Path) -> None:
    good, reports = written.read_bytes(), list[str]()
    written.write_bytes(b"x" + good[1:])
    Journal(written, FileSystem(), reports.append).truncate(good)
    assert written.read_bytes() == good
    assert "restored" in reports[0]
    written.unlink()
    Journal(written, FileSystem(), pytest.fail).truncate(good)
    assert written.read_bytes() == good
