"""Wrong arguments of the public functions: each is refused in a sentence, and nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import toy_training
from unbroken.errors import ArgumentError, UnbrokenError
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

WRONG: list[tuple[str, Any, str]] = [
    ("state", "model", r"state must be a mapping, got 'model'"),
    ("state", torch.nn.Linear(1, 1), r"state must be a mapping, got a Linear"),
    ("state", None, r"state must be a mapping, got None"),
    ("state", {}, r"state is empty"),
    ("state", {1: {}}, r"A name in state must be a str, got 1"),
    ("per_rank", [{}], r"per_rank must be a mapping, got a list"),
    ("every", "often", r"every must be at least 1, or 'auto', got 'often'"),
    ("every", math.nan, r"every must be at least 1"),
    ("keep", 2.5, r"keep must be at least 1, a whole number, got 2\.5"),
    ("keep", "3", r"keep must be at least 1"),
    ("keep", True, r"keep must be at least 1"),
    ("preemptions_per_hour", -1, r"preemptions_per_hour must be above 0"),
    ("preemptions_per_hour", "1", r"preemptions_per_hour must be above 0, a number, got '1'"),
    ("lock_timeout", math.nan, r"lock_timeout must be at least 0"),
    ("lock_timeout", "5", r"lock_timeout must be at least 0, a number, got '5'"),
    ("identity", {"lr": 1}, r"identity must be an Identity, got a dict"),
    ("stop", None, r"stop must be a StopFlag, got None"),
    ("group", "nccl", r"group must be a Group, got 'nccl'"),
    ("numerics", "x", r"numerics must be a mapping"),
    ("observers", print, r"observers must be a list of observers"),
    ("start_info", ["x"], r"start_info must be a mapping"),
    ("report", None, r"report must be a function"),
    ("folder", "", r"folder must be the path of a folder, got ''"),
    ("folder", 7, r"folder must be the path of a folder, got 7"),
]


def open_run(folder: Path, /, **options: Any) -> Run:
    usual = {
        "identity": Identity({}),
        "state": {"box": {"at": 0}},
        "stop": StopFlag(),
        "files": toy_training.Unsynced(),
    }
    given: dict[str, Any] = {"folder": folder, "report": lambda _: None, **usual, **options}
    return Run(given.pop("folder"), **given)


@pytest.mark.parametrize(("name", "value", "said"), WRONG, ids=[f"{name} {said[-12:]}" for name, _, said in WRONG])
def test_a_wrong_argument_is_refused_before_anything_is_touched(
    name: str, value: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=said + r".*Next: "):
        open_run(tmp_path / "run", **{name: value})
    assert not list(tmp_path.iterdir())


ASKED: list[tuple[Callable[[Run], object], str]] = [
    *((lambda run, n=number: list(run.steps(n)), "the number of steps") for number in (-1, True, 2.5, math.nan, "3")),
    (lambda run: list(run.batches([1], -1)), "the number of steps"),
    (lambda run: list(run.batches(3)), "the source of run.batches must be"),  # type: ignore[arg-type]
    *((lambda run, n=number: list(run.epochs(n, 3)), "the number of epochs") for number in (-1, True, 1.5, "2")),
    *((lambda run, n=number: list(run.epochs(2, n)), "batches of an epoch") for number in (0, True, 1.5, math.inf)),
]


@pytest.mark.parametrize(("ask", "said"), ASKED)
def test_so_is_a_wrong_number_of_steps(ask: Callable[[Run], object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=said + r".*Next: run\."), open_run(tmp_path) as run:
        ask(run)
    assert Run.peek(tmp_path).step == 0


@pytest.mark.parametrize("number", [4, 4.0, np.int64(4)])
def test_a_whole_number_of_any_kind_is_one(number: Any, tmp_path: Path) -> None:
    with open_run(tmp_path, keep=number) as run:
        assert list(run.steps(number)) == [1, 2, 3, 4]
        assert [list(epoch.steps()) for epoch in run.epochs(2, number)] == [[5, 6, 7, 8]]
        assert list(run.steps(0)) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss": "x"}, "metric 'loss' is a str.*Next: log a number"),
        ({"loss": torch.zeros(2)}, r"metric 'loss' is a Tensor of shape \[2\].*Next: run\.log\(loss=value\.mean"),
        ({"step": 1}, "may not be called 'step'.*Next: "),
    ],
)
def test_what_is_no_metric_is_said_with_its_name(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for _ in run.steps(1):
            with pytest.raises(ArgumentError, match=said):
                run.log(**values)


def test_a_name_of_a_pin_is_a_text(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        list(run.steps(1))
        for use in (run.pin, lambda name: run.export(tmp_path / "export", pin=name)):
            with pytest.raises(UnbrokenError, match="A pin was named 3, expected"):
                use(3)  # type: ignore[operator]


@pytest.mark.parametrize("parts", [None, [], "lr", 5])
def test_an_identity_without_names_says_so(parts: Any) -> None:
    with pytest.raises(ArgumentError, match=r"expected a mapping of names"):
        Identity(parts)


@pytest.mark.parametrize("part", [object(), math.nan, {1, 2}])
def test_an_identity_of_what_is_no_json_says_so(part: Any) -> None:
    with pytest.raises(ArgumentError, match=r"An identity was made of what is no JSON.*Next: "):
        Identity({"part": part})
