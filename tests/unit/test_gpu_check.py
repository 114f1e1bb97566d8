"""`make gpu-check`: what it says of readings and figures, and the whole of it rehearsed on the processor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu_check import __main__ as program
from benchmarks.gpu_check.place import ROOT, OutOfTimeError, Place, make_place
from benchmarks.gpu_check.rows import GOOD, MISSED, NO_GPU, Row, exit_code, failed, not_measured
from benchmarks.gpu_check.usage import BUSY, judge, judge_busy, judge_readings
from latentwire.errors import LatentWireError
from latentwire.nvml import Gpu
from latentwire.tracking.readings import Reading

CARD = Gpu("NVIDIA X", 95, 2**30, 2**33, "GPU-a", 300.0, 60)
DONE = Row("a", "yes", "yes", True)


@pytest.mark.parametrize(
    ("rows", "on_gpu", "code"),
    [
        ([DONE, Row("price", "1.1")], True, GOOD),
        ([DONE, Row("b", "no", "yes", False)], True, MISSED),
        ([DONE, not_measured("b", "the minutes were over")], True, MISSED),
        ([DONE, failed("b", "it crashed")], True, MISSED),
        ([DONE, not_measured("b", "no GPU")], False, NO_GPU),
        ([Row("b", "no", "yes", False)], False, MISSED),
    ],
)
def test_only_what_was_measured_and_is_good_is_good(rows: Sequence[Row], on_gpu: bool, code: int) -> None:
    assert exit_code(rows, on_gpu) == code


@pytest.mark.parametrize(
    ("percents", "verdict", "said"),
    [
        ([95] * 9, "good", "median 95 %"),
        ([90] * 9, "MISSED", "over the floor of 70 %"),
        ([69] * 9, "MISSED", "under the floor of 70 %"),
        ([99] * 4, "not measured", "4 readings, expected 5 or more"),
    ],
)
def test_how_busy_the_card_is(percents: Sequence[int], verdict: str, said: str) -> None:
    row = judge_busy(percents)
    assert row.verdict == verdict
    assert said in row.seen


def test_a_reading_that_is_missing_is_named() -> None:
    row = judge_readings([CARD, replace(CARD, power=None)], ["The GPU is not measured: it fell off"])
    assert row.verdict == "MISSED"
    assert row.seen == "missing: power 1 of 2 times; The GPU is not measured: it fell off"
    assert judge_readings([], []).seen == "missing: none"
    assert judge_readings([CARD], []).seen == "NVIDIA X: 95 % busy, 1.00 GiB of 8.00 GiB, 300 W, 60 °C at most"


def test_the_last_look_does_not_count() -> None:
    """It is of the end of the training."""
    idle = replace(CARD, busy=0)
    looks = [Reading("2026-01-01T00:00:00+00:00", float(i), "h", 1, i, gpus=(CARD,)) for i in range(1, 7)]
    busy, readings = judge([*looks[:-1], replace(looks[-1], gpus=(idle,))], on_gpu=True)
    assert (busy.met, readings.met) == (True, True)
    assert "95 to 95" in busy.seen


def test_a_part_that_fails_is_a_row_and_the_others_follow(tmp_path: Path) -> None:
    def breaks(_: Place) -> Iterator[Row]:
        yield DONE
        raise LatentWireError("it crashed")

    def takes_long(_: Place) -> Iterator[Row]:
        raise OutOfTimeError("the minutes were over in train")

    place = Place(tmp_path, {"runtime": {"device": "cpu"}}, 0.0)
    rows = program.check(place, {"one": breaks, "two": takes_long, "three": lambda _: iter([DONE])})
    assert [row.verdict for row in rows] == ["good", "MISSED", "not measured", "good"]
    assert [row.name for row in rows] == ["a", "one", "two", "a"]


def test_without_a_gpu_it_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "find_gpu", lambda: False)
    assert program.main([]) == NO_GPU
    said = capsys.readouterr().err
    assert said.startswith("No GPU that torch can use was found, expected one; nothing was checked. Next: `nvidia-smi`")


@pytest.mark.long
def test_a_stage_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    place = Place(tmp_path, {"runtime": {"device": "cpu"}}, time.monotonic() + 0.5)
    with pytest.raises(OutOfTimeError, match=r"the minutes were over in http\.server"):
        place.run(["http.server", "--bind", "127.0.0.1", "0"])


@pytest.mark.long
def test_models_that_are_missing_are_said(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "place").mkdir()
    with pytest.raises(LatentWireError, match=r"latentwire\.stages\.prepare ended with 2"):
        make_place(tmp_path / "place", "cpu", "real", time.monotonic() + 120, root=tmp_path / "root")


@pytest.mark.slow
def test_the_rehearsal(capsys: pytest.CaptureFixture[str]) -> None:
    """All that needs no GPU, on tiny models: bytes are the same, and what needs one is not measured."""
    assert program.main(["--device", "cpu"]) == NO_GPU, capsys.readouterr().out
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    verdicts = {name.strip(): verdict.strip() for _, name, _, _, verdict, _ in (line.split("│") for line in table)}
    good = [name for name, verdict in verdicts.items() if verdict == "good"]
    assert len(good) == 6, verdicts
    assert "MISSED" not in verdicts.values()
    assert verdicts[BUSY] == "not measured"
