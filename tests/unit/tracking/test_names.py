"""Names and values that MLflow takes."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.tracking.names import flatten_numbers, flatten_params, metric_name
from latentwire.tracking.store import TrackingError


def test_params() -> None:
    nested = {"train": {"lr": 1e-3, "seeds": [0, 1], "on": True, "none": None}, "title": "é: x", "a/b": 1}
    assert flatten_params(nested) == {
        "train.lr": "0.001",
        "train.seeds": "[0, 1]",
        "train.on": "true",
        "train.none": "null",
        "title": "é: x",
        "a_b": "1",
    }


def test_a_value_that_is_too_long_is_cut_and_told_apart_by_its_digest() -> None:
    first = flatten_params({"x": "a" * 6000 + "1"})["x"]
    second = flatten_params({"x": "a" * 6000 + "2"})["x"]
    assert len(first) == len(second) == 6000
    assert first != second
    assert flatten_params({"x": "a" * 6000}) == {"x": "a" * 6000}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"a": {"b": 1}}, {"a.b": 1.0}),
        ({"a": [1, 2.5]}, {"a.0": 1.0, "a.1": 2.5}),
        ({"rows": [{"m": "x", "v": 1}, {"m": "y", "v": 2}]}, {"rows.x.v": 1.0, "rows.y.v": 2.0}),
        ({"rows": [{"m": "x", "v": 1}, {"m": "x", "v": 2}]}, {"rows.0.v": 1.0, "rows.1.v": 2.0}),
        ({"a": None, "b": "text", "c": math.nan, "d": math.inf}, {}),
        ({"t": True, "f": False}, {"t": 1.0, "f": 0.0}),
    ],
)
def test_numbers(tree: dict[str, Any], expected: dict[str, float]) -> None:
    assert flatten_numbers(tree) == expected


def test_two_numbers_of_one_name_are_refused() -> None:
    with pytest.raises(TrackingError, match=r"Two statistics are called 'a_b'.*stats\.json"):
        flatten_numbers({"a+b": 1, "a*b": 2})


def test_groups_of_metrics_stay() -> None:
    assert metric_name("validation/accuracy/smollm2") == "validation/accuracy/smollm2"


@given(st.text(max_size=400))
def test_any_name_becomes_one_that_mlflow_takes(text: str) -> None:
    for name in (metric_name(text), *flatten_numbers({text: 1}), *flatten_params({text: 1})):
        assert re.fullmatch(r"[A-Za-z0-9_. /-]+", name)
        assert len(name) <= 250
        assert not {".", "..", ""} & set(name.split("/"))
