"""Measured costs: what is counted, and how two executions are compared."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from latentwire.errors import ConfigurationError
from latentwire.profiling import compare
from latentwire.profiling.inference_paths import InferencePath
from latentwire.profiling.measure import measure_inference_paths, quartiles_in_ms
from latentwire.profiling.write import write_profile
from latentwire.verification.rows import Status, verification_exit_code


def way(method: str, **parts: Any) -> InferencePath:
    return InferencePath("r8", method, "gemma3", parts, positions=8.0, bytes_per_example=3072.0, examples=3)


def profile(*ways: dict[str, Any]) -> dict[str, Any]:
    machine = {"processor": "a processor", "GPUs": "none"}
    facts = {"examples": 3, "repeats": 2, "device": "cpu", "machine": machine, "peak_process_bytes": 2**30}
    return {**facts, "ways": list(ways)}


@pytest.fixture
def measured() -> dict[str, Any]:
    done: list[int] = []
    calls: list[str] = []
    ways = [way("wire", write=lambda i: calls.append(f"w{i}"), read=lambda i: calls.append(f"r{i}"))]
    ways.append(way("text", read=lambda i: calls.append(f"t{i}")))
    found = measure_inference_paths(ways, repeats=2, advance=done.append)
    assert len(done) == 2 * 2 * 3
    warm, once = ["w0", "r0", "w1", "r1"], ["w0", "r0", "w1", "r1", "w2", "r2"]
    assert calls == [*warm, *once, "t0", "t1", "t0", "t1", "t2", *once, "t0", "t1", "t2"]
    return profile(*found)


def test_every_part_and_the_whole_are_timed(measured: dict[str, Any]) -> None:
    wire, text = measured["ways"]
    assert list(wire["milliseconds"]) == ["write", "read", "total"]
    assert list(text["milliseconds"]) == ["read", "total"]
    assert wire["peak_gpu_bytes"] is None
    for spent in wire["milliseconds"].values():
        assert 0 <= spent["low"] <= spent["median"] <= spent["high"]


def test_quartiles_are_in_milliseconds() -> None:
    assert quartiles_in_ms([0.001, 0.002, 0.003, 0.004, 0.005]) == {
        "low": pytest.approx(2),
        "median": pytest.approx(3),
        "high": pytest.approx(4),
    }


def test_files_are_under_execution_only(measured: dict[str, Any], tmp_path: Path) -> None:
    data, text = write_profile(tmp_path, measured, None)
    assert data.parent == text.parent == tmp_path / "reports/execution"
    assert compare.read_profile(data) == measured
    assert "| r8 | gemma3 | text | – | – |" in text.read_text()
    assert "latency.png" not in text.read_text()


@pytest.mark.parametrize(
    ("factor", "bytes_per_example", "status", "why"),
    [
        (1.9, 3072.0, Status.COMPATIBLE, "1.90 times, tolerance 2 times"),
        (0.4, 3072.0, Status.CONTRADICTED, "0.40 times, tolerance 2 times"),
        (1.0, 1.0, Status.CONTRADICTED, "bytes_per_example is 1, before 3072"),
    ],
)
def test_times_are_compared_within_a_factor_and_counts_exactly(
    measured: dict[str, Any], factor: float, bytes_per_example: float, status: Status, why: str
) -> None:
    before, after = copy.deepcopy(measured), copy.deepcopy(measured)
    for one, times in ((before, 1.0), (after, factor)):
        one["ways"] = one["ways"][:1]
        one["ways"][0]["milliseconds"]["total"]["median"] = 10.0 * times
    after["ways"][0]["bytes_per_example"] = bytes_per_example
    (row,) = compare.compare_profiles(before, after, 2.0)
    assert (row.name, row.status) == ("r8/gemma3/wire", status)
    assert why in row.why
    assert verification_exit_code([row]) == (0 if status is Status.COMPATIBLE else 3)


def test_another_machine_and_another_way_are_named(measured: dict[str, Any]) -> None:
    other = copy.deepcopy(measured)
    other["machine"]["processor"] = "another processor"
    del other["ways"][1]
    rows = {row.name: row for row in compare.compare_profiles(measured, other, 1e9)}
    assert rows["r8/gemma3/text"].why.startswith("not measured here")
    assert rows["r8/gemma3/wire"].why.endswith("measured on a processor, now on another processor")


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing.json cannot be read .* Next: `latentwire profile`"):
        compare.read_profile(tmp_path / "missing.json")
    (tmp_path / "torn.json").write_text(json.dumps({"ways": []})[:-1])
    with pytest.raises(ConfigurationError, match=r"torn\.json cannot be read"):
        compare.read_profile(tmp_path / "torn.json")
