"""Which records of a journal are shown: all of a short one, and of a long one all that tells its course."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from latentwire.journal_sample import LOSS, PARTS, SHORT, sample_journal
from unbroken.run_folder.journal import Record, encode_record, parse_journal, read_journal

STEPS = 12_000
SPIKE, BROKEN, DIP = 2_345, 7_456, 9_417


def losses_of(step: int) -> dict[str, float]:
    """A falling loss with one peak, one hole and one step at which it is no number."""
    loss = {SPIKE: 99.0, BROKEN: math.nan, DIP: -3.0}.get(step, 1 + 1 / step)
    validation = {"validation/accuracy": step / STEPS} if step % 1000 == 0 else {}
    return {LOSS: loss, "train/gradient_norm": 0.5, "train/lr": 0.001, **validation}


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return [encode_record(step, losses_of(step)) for step in range(1, STEPS + 1)]


def write(path: Path, lines: list[bytes], tail: bytes = b"") -> Path:
    path.write_bytes(b"".join(lines) + tail)
    return path


def by_step(records: object) -> Mapping[int, Record]:
    return {record["step"]: record for record in records}  # type: ignore[attr-defined]


def test_a_long_journal_is_shown_by_few_of_its_records(tmp_path: Path, lines: list[bytes]) -> None:
    path = write(tmp_path / "journal.jsonl", lines)
    assert path.stat().st_size > 4 * SHORT
    sample = sample_journal(path)
    assert (sample.last_step, sample.problem) == (STEPS, "")
    assert len(sample.records) < 8 * PARTS
    whole, shown = by_step(read_journal(path)), by_step(sample.records)
    assert list(shown) == sorted(shown)
    assert {1, SPIKE, BROKEN, DIP, STEPS, *range(1000, STEPS, 1000)} <= set(shown)
    assert math.isnan(shown[BROKEN].pop(LOSS))
    assert math.isnan(whole[BROKEN].pop(LOSS))
    assert all(whole[step] == record for step, record in shown.items())


def test_of_a_short_journal_nothing_is_left_out(tmp_path: Path, lines: list[bytes]) -> None:
    path = write(tmp_path / "journal.jsonl", lines[:200], lines[200][:30])
    assert sample_journal(path).records == parse_journal(b"".join(lines[:200]), "")


def test_a_journal_that_grows_or_is_cut_is_read_again(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "journal.jsonl"
    for count in (20, 30, 10):
        assert sample_journal(write(path, lines[:count])).last_step == count


@pytest.mark.parametrize("count", [300, STEPS])
def test_what_stands_before_and_after_damage_is_shown_and_the_damage_said(
    tmp_path: Path, lines: list[bytes], count: int
) -> None:
    """A block of zeros, as a power cut leaves it; of a long journal also what comes after it is shown."""
    damaged = [*lines[: count // 3], b"\0" * 4096, *lines[count // 3 + 40 : count]]
    sample = sample_journal(write(tmp_path / "journal.jsonl", damaged))
    assert sample.records[0]["step"] == 1
    assert sample.last_step == (count // 3 if count == 300 else count)
    assert str(tmp_path / "journal.jsonl") in sample.problem
    assert "damaged" in sample.problem
    (said,) = re.findall(r"(?:Line|after step) (\d+)", sample.problem)
    assert count // 3 - STEPS // PARTS <= int(said) <= count // 3 + 1
    assert "Next: run the training again" in sample.problem


@pytest.mark.parametrize("tail", [b'{"step": 12001, "train/l', b"\0" * 100, b"\0" * 100 + b"\n"])
def test_a_torn_end_of_a_long_journal_is_no_damage(tmp_path: Path, lines: list[bytes], tail: bytes) -> None:
    sample = sample_journal(write(tmp_path / "journal.jsonl", lines, tail))
    assert (sample.last_step, sample.problem) == (STEPS, "")


def test_no_journal_and_what_is_none(tmp_path: Path) -> None:
    assert sample_journal(tmp_path / "journal.jsonl").records == ()
    (tmp_path / "journal.jsonl").mkdir()
    sample = sample_journal(tmp_path / "journal.jsonl")
    assert sample.last_step == 0
    assert sample.problem.startswith("The journal cannot be read: ")
