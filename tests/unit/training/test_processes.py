"""How many processes a machine starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire.errors import ConfigurationError
from latentwire.params.load import Params, load_params
from latentwire.training import process_count

ROOT = Path(__file__).parents[3]


@pytest.fixture
def values() -> Params:
    return load_params(ROOT / "params.yaml")


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (8, 8), (64, 8)])
def test_one_for_each_core_but_not_more_than_shards(
    cores: int, expected: int, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LATENTWIRE_PROCESSES", raising=False)
    monkeypatch.setattr(process_count, "usable_cores", lambda: cores)
    assert process_count.count_processes(values) == expected


@pytest.mark.parametrize(("gpus", "expected"), [(0, 1), (4, 4)])
def test_one_for_each_gpu(gpus: int, expected: int, values: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LATENTWIRE_PROCESSES", raising=False)
    monkeypatch.setattr(process_count, "count_usable_gpus", lambda: gpus)
    runtime = values.runtime.model_copy(update={"device": "cuda"})
    assert process_count.count_processes(values.model_copy(update={"runtime": runtime})) == expected


def test_what_is_asked_for(values: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWIRE_PROCESSES", "3")
    assert process_count.count_processes(values) == 3
    monkeypatch.setenv("LATENTWIRE_PROCESSES", "9")
    with pytest.raises(ConfigurationError, match=r"is 9, but a step has only 8 virtual shards"):
        process_count.count_processes(values)
    monkeypatch.setenv("LATENTWIRE_PROCESSES", "two")
    with pytest.raises(ConfigurationError, match=r"is 'two'; expected a number of processes above 0"):
        process_count.count_processes(values)


def test_gpus_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert process_count.count_usable_gpus() == 0
