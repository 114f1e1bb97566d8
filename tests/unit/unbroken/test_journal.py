"""The metric history: checksums, torn lines, truncation."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from unbroken.errors import CheckpointError, DamagedError, StorageError
from unbroken.filesystem import FileSystem
from unbroken.run_folder import journal
from unbroken.run_folder.journal_writer import Journal
from unbroken.run_folder.stored_journal import StoredJournal, find_journal

T = TypeVar("T")


def durable(view: Path) -> Path:
    return view.parent / "checkpoints" / "journal.jsonl"


def open_journal(view: Path, report: Callable[[str], None] = pytest.fail, files: FileSystem | None = None) -> Journal:
    durable(view).parent.mkdir(exist_ok=True)
    return Journal(view, durable(view), files or FileSystem(), report)


def go_back(view: Path, stored: StoredJournal, report: Callable[[str], None] = pytest.fail) -> Journal:
    """A start that goes on from a checkpoint with this history."""
    book = open_journal(view, report)
    book.match(stored)
    book.cut()
    return book


def find(view: Path, history: bytes) -> StoredJournal:
    digest = hashlib.sha256(history).hexdigest()
    return find_journal(FileSystem(), (durable(view), view), len(history), digest)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Five steps, all of them durable."""
    book = open_journal(tmp_path / "journal.jsonl")
    for step in range(1, 6):
        book.append(step, {"train/loss": 1 / step, "lr": 0.1, "done": step == 5, "note": None})
    book.part().make_durable(True)
    book.close()
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
    book = go_back(written, find(written, b"".join(lines[:3])))
    assert written.read_bytes() == b"".join(lines[:3])
    assert written.stat().st_ino == inode
    book.append(4, {"again": 1})
    assert journal.read_journal(written)[3] == {"step": 4, "again": 1}
    book.part().make_durable(True)
    assert durable(written).read_bytes() == written.read_bytes()


def copies(view: Path) -> tuple[Path, Path]:
    return view, durable(view)


@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_or_lost_copy_is_restored_from_the_other(written: Path, which: int) -> None:
    good, reports, harmed = written.read_bytes(), list[str](), copies(written)[which]
    harmed.write_bytes(b"x" + good[1:])
    go_back(written, find(written, good), reports.append)
    assert [path.read_bytes() for path in copies(written)] == [good, good]
    (sentence,) = reports
    assert f"{harmed} differs" in sentence
    assert "restored" in sentence
    harmed.unlink()
    go_back(written, find(written, good))
    assert [path.read_bytes() for path in copies(written)] == [good, good]


def harm_lines(path: Path, *steps: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for step in steps:
        lines[step - 1] = lines[step - 1].replace(b"0.1", b"0.2")
    path.write_bytes(b"".join(lines))


def test_each_line_is_taken_from_the_copy_that_has_it(written: Path) -> None:
    good, reports = written.read_bytes(), list[str]()
    harm_lines(written, 1, 4)
    harm_lines(durable(written), 2, 3, 5)
    stored = find(written, good)
    assert b"".join(stored.chunks()) == good
    assert [record["step"] for record in stored.records()] == [1, 2, 3, 4, 5]
    go_back(written, stored, reports.append)
    assert [path.read_bytes() for path in copies(written)] == [good, good]
    assert len(reports) == 2


def test_a_line_that_no_copy_has_is_damage(written: Path) -> None:
    good = written.read_bytes()
    for path in copies(written):
        harm_lines(path, 3)
    two = b"".join(good.splitlines(keepends=True)[:2])
    assert find(written, two).size == len(two), "what is before it is not lost"
    with pytest.raises(DamagedError, match=f"{durable(written)} and {written}"):
        find(written, good)


def test_a_whole_line_of_another_history_does_not_deceive(written: Path) -> None:
    good = written.read_bytes()
    other = b"".join(journal.encode_record(step, {"train/loss": 0.0}) for step in range(1, 6))
    for path, rest in zip(copies(written), (good[:200], other), strict=True):
        path.write_bytes(rest)
    with pytest.raises(DamagedError):
        find(written, good)


def test_any_byte_of_both_copies_may_be_wrong_unless_it_is_of_one_line(written: Path) -> None:
    good, chance = written.read_bytes(), random.Random(1)
    lines = [good[:index].count(b"\n") for index in range(len(good))]
    for _ in range(300):
        places = [chance.randrange(len(good)) for _ in range(2)]
        for path, place in zip(copies(written), places, strict=True):
            data = bytearray(good)
            data[place] ^= 1 << chance.randrange(8)
            path.write_bytes(data)
        if lines[places[0]] != lines[places[1]]:
            assert b"".join(find(written, good).chunks()) == good, places
        else:
            with pytest.raises(DamagedError):
                find(written, good)


@pytest.mark.parametrize("harm", ["remove", "replace", "cut", "lengthen"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_copy_that_is_changed_by_hand_while_the_run_goes_on_is_whole_after_the_next_save(
    harm: str, which: int, tmp_path: Path
) -> None:
    view, reports = tmp_path / "journal.jsonl", list[str]()
    book = open_journal(view, reports.append)
    for step in range(1, 10):
        book.append(step, {"loss": step / 3})
        if step == 5:
            book.part().make_durable(True)
        if step == 7:
            path = copies(view)[which]
            content = path.read_bytes()
            if harm in ("remove", "replace"):
                path.unlink()
            if harm != "remove":
                path.write_bytes({"replace": b"x", "cut": content[:40], "lengthen": content + b"x"}[harm])
    expected = b"".join(journal.encode_record(step, {"loss": step / 3}) for step in range(1, 10))
    book.part().make_durable(True)
    assert [path.read_bytes() for path in copies(view)] == [expected, expected]
    book.append(10, {})
    assert view.read_bytes() == expected + journal.encode_record(10, {})


def test_a_history_that_both_files_have_lost_is_not_made_durable(written: Path) -> None:
    book = go_back(written, find(written, written.read_bytes()))
    book.append(6, {})
    durable(written).unlink()
    harm_lines(written, 2)
    with pytest.raises(StorageError, match=r"was stored is not whole .* while this process ran\. Next: "):
        book.part().make_durable(True)


@pytest.mark.parametrize("operation", ["update", "stat", "truncate", "write", "fsync", "read", "close"])
def test_a_save_that_the_disk_refuses_keeps_the_lines_for_the_next(operation: str, tmp_path: Path) -> None:
    class Refusing(FileSystem):
        refuses = False

        def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
            if self.refuses and name == operation and path == durable(view):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return action()

    view, files = tmp_path / "journal.jsonl", Refusing()
    book = open_journal(view, files=files)
    for step in range(1, 8):
        book.append(step, {"loss": step})
        files.refuses = step in (2, 3)
        if files.refuses:
            with pytest.raises(OSError, match="Input/output"):
                book.part().make_durable(True)
        else:
            book.part().make_durable(True)
        if not files.refuses:
            assert durable(view).read_bytes() == view.read_bytes()


def test_lines_that_do_not_read_back_are_written_again(tmp_path: Path) -> None:
    class Lying(FileSystem):
        lies = True

        def write_at(self, descriptor: int, path: Path, data: bytes | bytearray | memoryview, offset: int) -> int:
            return super().write_at(descriptor, path, bytes(len(data)) if self.lies else data, offset)

    view, files = tmp_path / "journal.jsonl", Lying()
    book = open_journal(view, files=files)
    book.append(1, {"loss": 1})
    with pytest.raises(StorageError, match="does not read back as written"):
        book.part().make_durable(True)
    files.lies = False
    book.part().make_durable(True)
    assert durable(view).read_bytes() == journal.encode_record(1, {"loss": 1})


def test_a_save_writes_what_is_new_and_memory_holds_what_is_not_durable(tmp_path: Path) -> None:
    written = dict[Path, int]()

    class Counting(FileSystem):
        def write_at(self, descriptor: int, path: Path, data: bytes | bytearray | memoryview, offset: int) -> int:
            written[path] = written.get(path, 0) + len(data)
            return super().write_at(descriptor, path, data, offset)

    view = tmp_path / "journal.jsonl"
    book = open_journal(view, files=Counting())
    for step in range(1, 201):
        book.append(step, {"loss": step})
        if step % 10 == 0:
            book.part().make_durable(True)
            assert not book._new
    assert set(written) == set(copies(view))
    assert set(written.values()) == {view.stat().st_size}


def test_a_history_of_many_pieces_with_long_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unbroken.run_folder.stored_journal.PIECE", 64)
    view, reports = tmp_path / "journal.jsonl", list[str]()
    book = open_journal(view)
    for step in range(1, 40):
        book.append(step, {f"metric/{index}": index / step for index in range(step)})
    book.part().make_durable(True)
    good = view.read_bytes()
    for path, place in zip(copies(view), (20, len(good) - 20), strict=True):
        path.write_bytes(good[:place] + b"!" + good[place + 1 :])
    assert list(find(view, good).records()) == journal.parse_journal(good, "here")
    go_back(view, find(view, good), reports.append)
    assert [path.read_bytes() for path in copies(view)] == [good, good]


@pytest.mark.parametrize("values", [{}, {"b": math.nan, "a": -math.inf, "é": 1}, {"x": torch.tensor(2.5), "n": None}])
def test_a_record_is_returned_as_it_will_be_read(values: dict[str, object], tmp_path: Path) -> None:
    book = open_journal(tmp_path / "journal.jsonl")
    returned = book.append(1, values)
    (read,) = journal.read_journal(tmp_path / "journal.jsonl")
    assert repr(returned) == repr(read)


def test_an_integer_that_no_line_can_hold_is_refused_by_the_name_of_its_metric() -> None:
    with pytest.raises(ValueError, match=r"metric 'count' is an integer of 14285 bits"):
        journal.encode_record(1, {"count": 10**4300})
    assert journal.parse_journal(journal.encode_record(1, {"count": 10**4299}), "here") == [
        {"step": 1, "count": 10**4299}
    ]
