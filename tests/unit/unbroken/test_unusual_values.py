"""Values and holders that are rare: they come back exactly, or are refused by the name of their place."""

from __future__ import annotations

import datetime
import enum
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unbroken.checkpoint.reading import load_checkpoint
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.errors import CheckpointError
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

WIDE = 10**4300  # the first that Python does not print


def save(folder: Path, state: dict[str, Any]) -> Run:
    options: dict[str, Any] = {"identity": Identity({}), "background": False, "numerics": {}}
    with Run(folder, state=state, stop=StopFlag(9.0), report=lambda _: None, **options) as run:
        list(run.steps(1))
    return run


def test_integers_of_any_size_come_back(tmp_path: Path) -> None:
    value = {"one": WIDE, "list": [1, -WIDE], "mixed": [None, WIDE], "set": {WIDE}, WIDE: {(1, WIDE): [0.5]}}
    run = save(tmp_path, {"box": dict(value)})
    empty: dict[str, Any] = {"box": {}}
    assert save(tmp_path, empty).step == 1
    assert empty["box"] == value == load_checkpoint(run.final).state("box")


def test_an_integer_that_can_be_printed_is_stored_as_it_always_was() -> None:
    (_, stored), *_ = capture_state({"box": {"a": 10**4299}}).tree["box"]["items"]
    assert stored == 10**4299


@pytest.mark.parametrize("make", [random.Random, np.random.RandomState], ids=lambda make: make.__name__)
def test_generators_of_the_standard_library_and_of_old_numpy_are_parts(make: Any, tmp_path: Path) -> None:
    used, fresh = make(1), make(2)
    used.normal() if hasattr(used, "normal") else used.gauss(0, 1)  # keeps a second number for the next call
    save(tmp_path, {"noise": used})
    save(tmp_path, {"noise": fresh})
    draw = (lambda g: g.normal()) if hasattr(used, "normal") else (lambda g: g.gauss(0, 1))
    assert [draw(used) for _ in range(3)] == [draw(fresh) for _ in range(3)]


@pytest.mark.parametrize(
    "value",
    [[1], (1,), 1, "a", torch.zeros(1), torch.nn.Parameter(torch.zeros(1)), np.zeros(1), {1}, random.SystemRandom()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_part_is_refused_with_a_way_out(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"The state g is a .*{type(value).__name__}, expected .* Next: put it"):
        save(tmp_path, {"g": value})


Color = enum.Enum("Color", ["RED"])


@pytest.mark.parametrize(
    "value", [Color.RED, Path("a"), datetime.date(2026, 1, 1), 1j], ids=lambda value: type(value).__name__
)
def test_values_that_are_no_data_are_refused_at_the_start_by_their_place(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"The state at box/list/1 holds a .* Next: keep it out"):
        save(tmp_path, {"box": {"list": [0, value]}})
    assert not list((tmp_path / "checkpoints").glob("*")) if (tmp_path / "checkpoints").exists() else True


@pytest.mark.parametrize(
    "generator",
    [torch.Generator(), np.random.default_rng(0), np.random.RandomState(0), random.Random(0)],
    ids=lambda generator: type(generator).__name__,
)
def test_a_generator_inside_a_dict_is_told_where_it_belongs(generator: Any) -> None:
    with pytest.raises(CheckpointError, match=r"The state at box/noise holds a .* Next: give the generator a name of"):
        capture_state({"box": {"noise": generator}})


def test_reading_leaves_a_generator_of_the_state_where_it_was() -> None:
    class Draws:
        def state_dict(self) -> dict[str, Any]:
            return {"drawn": noise.random() < 2}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    noise = random.Random(0)
    before = noise.getstate()
    restore_state(capture_state({"draws": Draws(), "noise": noise}), {"draws": Draws(), "noise": noise})
    assert noise.getstate() == before
