"""The first difference is named with its place and both values."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import pytest

from latentwire.verification.differences import first_difference, json_differences, nearly_equal


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("t.tex", b"a\n12.3 & 4\n", b"a\n12.4 & 4\n", "line 2 is '12.4 & 4', published '12.3 & 4'"),
        ("t.md", b"a\n", b"a\nb\n", "line 2 is 'b', published missing"),
        ("s.json", b'{"a": {"b": [1, 2]}}', b'{"a": {"b": [1, 3]}}', "a › b[1] is 3, published 2"),
        ("s.json", b'{"a": 1}', b'{"b": 1}', "a is nothing, published 1"),
        ("s.json", b'{"a": 1}', b'{"a": true}', "a is True, published 1"),
        ("s.json", b'{"a": 1}', b'{"a": 1,}', "it is not JSON"),
        ("f.png", b"123", b"1234", "4 bytes here, 3 bytes published, and they differ"),
    ],
)
def test_first_difference(name: str, before: bytes, after: bytes, expected: str) -> None:
    assert first_difference(name, before, after).startswith(expected)


def test_a_row_of_a_table_is_named_by_its_keys() -> None:
    before = parquet(method=["wire", "wire"], example_id=["e0", "e1"], scores=[[1.0, 2.0], [3.0, 4.0]])
    after = parquet(method=["wire", "wire"], example_id=["e0", "e1"], scores=[[1.0, 2.0], [3.0, 5.0]])
    expected = "row 1 (method wire, example_id e1) has scores [3.0, 5.0], published [3.0, 4.0]; 1 such rows"
    assert first_difference("p.parquet", before, after) == expected


def test_missing_rows_and_broken_files_are_named() -> None:
    two, one = parquet(method=["a", "b"]), parquet(method=["a"])
    assert first_difference("p.parquet", two, one) == "1 rows of method; published 2 rows of method"
    assert first_difference("p.parquet", two, b"PAR1") == "it is not a Parquet file"


def test_the_last_digits_of_a_sum_are_close_and_a_printed_digit_is_not() -> None:
    assert nearly_equal(0.1234567890123, 0.1234567890124)
    assert not nearly_equal(0.1234567, 0.1234568)
    assert not nearly_equal(True, 1)
    assert not nearly_equal("1", 1.0)


def test_equal_values_have_no_difference() -> None:
    value = {"a": [1, None, {"b": "c"}]}
    assert list(json_differences(value, json.loads(json.dumps(value)))) == []
