"""Tab-separated text, JSON lines, Parquet, texts of several columns, rows without a label."""

from __future__ import annotations

import contextlib
import io
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from latentwire.errors import ConfigurationError
from latentwire.tasks.tables import Row, read_rows
from tests.support.data_formats import layout

ROWS = [{"text": 'one "two"\nthree', "label": 1}, {"text": "vier\u2028fünf\x85", "label": 0}]
READ = [('one "two"\nthree', "1"), ("vier\u2028fünf\x85", "0")]
NEGATIVE = [{"text": "a", "label": 1}, {"text": "b", "label": -1}, {"text": "c", "label": None}]


def json_lines(rows: list[dict[str, Any]], end: str = "\n", **options: Any) -> bytes:
    return "".join(json.dumps(row, **options) + end for row in rows).encode()


def parquet(rows: list[dict[str, Any]] | pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows) if isinstance(rows, list) else rows, file)
    return file.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_lines(end: str, ascii_only: bool) -> None:
    data = json_lines(ROWS, end, ensure_ascii=ascii_only)
    assert read_rows(data, layout("jsonl"), ["0", "1"], "f") == READ
    assert read_rows(b"\xef\xbb\xbf" + data, layout("jsonl"), ["0", "1"], "f") == READ


def test_parquet() -> None:
    assert read_rows(parquet(ROWS), layout("parquet"), ["0", "1"], "f") == READ


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_every_way_of_parquet_to_keep_text(kind: str) -> None:
    form = pa.dictionary(pa.int32(), pa.string()) if kind == "dictionary" else getattr(pa, kind)()
    table = pa.table({"text": pa.array(["a", "b"]).cast(form), "label": pa.array(["x-y", "z"]).cast(form)})
    assert read_rows(parquet(table), layout("parquet"), ["x-y", "z"], "f") == [("a", "x-y"), ("b", "z")]


@pytest.mark.parametrize(
    ("value", "label"),
    [(1, "1"), (-1, "-1"), (10**12, "1000000000000"), (True, "true"), (1.0, "1.0"), ("money-fx", "money-fx")],
)
def test_a_label_of_any_type_is_what_json_writes(value: Any, label: str) -> None:
    rows = [{"text": "a", "label": value}]
    for kind, data in (("jsonl", json_lines(rows)), ("parquet", parquet(rows))):
        assert read_rows(data, layout(kind), [label], "f") == [("a", label)]


def test_other_columns_may_hold_anything() -> None:
    rows = [{"text": "a", "label": 1, "tokens": ["a"], "more": {"b": None}}]
    for kind, data in (("jsonl", json_lines(rows)), ("parquet", parquet(rows))):
        assert read_rows(data, layout(kind), ["1"], "f") == [("a", "1")]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_rows_without_a_label_are_refused_or_left_out_as_the_format_says(missing: Any) -> None:
    rows = [{"text": "a", "label": 1.5}, {"text": "b", "label": missing}]
    for kind, data in (("jsonl", json_lines(rows)), ("parquet", parquet(rows))):
        assert read_rows(data, layout(kind, unlabelled=[""]), ["1.5"], "f") == [("a", "1.5")]
        with pytest.raises(ConfigurationError, match=r"No label \(''\) in column 'label' of f, (line|row) 2; known"):
            read_rows(data, layout(kind), ["1.5"], "f")


def test_a_number_may_stand_for_no_label() -> None:
    """As in SNLI, where -1 says that nobody agreed."""
    form = layout("jsonl", unlabelled=[-1, ""])
    assert read_rows(json_lines(NEGATIVE), form, ["1"], "f") == [("a", "1")]
    assert form.unlabelled == ("-1", "")


def test_a_missing_text_is_an_empty_one() -> None:
    rows = [{"text": None, "label": 1}, {"text": "b", "label": 1}]
    for kind, data in (("jsonl", json_lines(rows)), ("parquet", parquet(rows))):
        assert read_rows(data, layout(kind), ["1"], "f") == [("", "1"), ("b", "1")]


def test_values_to_filter_by_may_be_numbers() -> None:
    rows = [{"text": "a", "label": 1, "fold": 2, "good": True}, {"text": "b", "label": 1, "fold": 3, "good": True}]
    form = layout("jsonl", where={"fold": 3, "good": True})
    assert read_rows(json_lines(rows), form, ["1"], "f") == [("b", "1")]
    either = layout("jsonl", where={"fold": [2, 3, 4]})
    assert read_rows(json_lines(rows), either, ["1"], "f") == [("a", "1"), ("b", "1")]
    with pytest.raises(ConfigurationError, match=r"f has no row with {'fold': \('22', '3x'\)}"):
        read_rows(json_lines(rows), layout("jsonl", where={"fold": [22, "3x"]}), ["1"], "f")


def test_quotation_marks_of_tab_separated_text() -> None:
    quoted = b'text\tlabel\r\n"a ""b""\tc"\t1\r\n'
    plain = b'text\tlabel\n"a\t1\n"b" c\t1\n'
    assert read_rows(quoted, layout("tsv"), ["1"], "f") == [('a "b"\tc', "1")]
    assert read_rows(plain, layout("tsv", quotes=False), ["1"], "f") == [('"a', "1"), ('"b" c', "1")]
    with pytest.raises(ConfigurationError, match=r"f, line 2, is not tab-separated text.*`format.quotes: false`"):
        read_rows(plain, layout("tsv"), ["1"], "f")


def test_tab_separated_text_without_a_header() -> None:
    form = layout("tsv", columns=["label", "text"])
    assert read_rows(b"1\ta\n\n0\tb\n", form, ["0", "1"], "f") == [("a", "1"), ("b", "0")]


def pair(template: str, first: str, second: str) -> list[Row]:
    form = layout("jsonl", text=None, template=template)
    return read_rows(json_lines([{"p": first, "h b": second, "label": 1}]), form, ["1"], "f")


def test_a_text_is_made_of_two_columns() -> None:
    assert pair("{p} Question: {h b}?", "It rains", "Is it wet") == [("It rains Question: Is it wet?", "1")]
    assert pair("{{{p}}} {p}", "a", "b") == [("{a} a", "1")]
    assert pair("{p} and {h b}", "{h b}", "{p}") == [("{h b} and {p}", "1")]


def test_half_a_pair_is_no_text() -> None:
    assert pair("{p}. {h b}", "a", " ") == [("", "1")]


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        ("csv", {"text": None}, "expected one of text .* and template"),
        ("csv", {"template": "{a}"}, "expected one of text .* and template"),
        ("csv", {"text": None, "template": "words"}, "template names no column"),
        ("csv", {"text": None, "template": "{a} {}"}, "something else than the name of a column"),
        ("csv", {"text": None, "template": "{a!r}"}, "something else than the name of a column"),
        ("csv", {"text": None, "template": "{a"}, "expected '}' before end of string"),
        ("csv", {"quotes": False}, "Extra inputs"),
        ("jsonl", {"columns": ["text", "label"]}, "Extra inputs"),
        ("csv", {"columns": ["text", "text", "label"]}, "'text' stands there more than once"),
        ("csv", {"columns": ["words", "label"]}, r"columns must name 'text', found \('words', 'label'\)"),
        ("tsv", {"columns": ["text", "label"], "where": {"lang": "en"}}, "columns must name 'lang'"),
        ("csv", {"where": {"lang": []}}, "at least 1 item"),
        ("xml", {}, "a format needs a kind, one of csv, tsv, orange, jsonl, parquet"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused(kind: str, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        layout(kind, **more)


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("jsonl", b'{"text": "a", "label": 1}\n{"text": \n', r"f, line 2, is not JSON: .*Next: mend the line"),
        ("jsonl", b'[{"text": "a", "label": 1}]', r"f, line 1, is a list; expected an object .*Next: write one"),
        ("jsonl", b'{"text": "a", "label": 1, "label": 2}', r"line 1, is not JSON: the key 'label' stands there more"),
        ("jsonl", b'{"text": "a", "label": Infinity}', r"line 1, is not JSON: Infinity is no number"),
        ("jsonl", b'{"text": ["a"], "label": 1}', r"Column 'text' of f, line 1, is a list; expected text, a number"),
        ("jsonl", b'{"words": "a", "label": 1}', r"f, line 1, has the columns 'words', 'label'; expected 'label', 't"),
        ("jsonl", b"\xff", r"f is not UTF-8"),
        ("jsonl", b"\n", r"f has no row"),
        ("parquet", b"text,label\na,1\n", r"f is not Parquet, or is damaged: .*Next: get the file again, or name"),
        ("parquet", b"", r"f is not Parquet"),
        ("parquet", parquet(ROWS)[:-20], r"f is not Parquet"),
        ("parquet", parquet([{"words": "a", "label": 1}]), r"f, row 1, has the columns 'words', 'label'; expected"),
        ("parquet", parquet([{"text": ["a"], "label": 1}]), r"Column 'text' of f, row 1, is a list; expected text"),
        ("parquet", parquet([{"text": b"a", "label": 1}]), r"Column 'text' of f, row 1, is of type bytes; expected"),
        ("parquet", parquet([{"text": "a", "label": 5}]), r"Unknown label '5' in column 'label' of f, row 1; known"),
        ("tsv", b"text\tlabel\na\n", r"f, line 2, has 1 cells; expected 2"),
    ],
)
def test_a_file_of_another_form_is_said_where_and_how(kind: str, data: bytes, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_rows(data, layout(kind), ["0", "1"], "f")


def two_labels() -> pa.Table:
    return pa.table([["a"], ["1"], ["0"]], names=["text", "label", "label"])


def not_utf8() -> pa.Table:
    """Two texts, the second no UTF-8, which Arrow does not look at."""
    offsets, letters = pa.py_buffer(np.array([0, 1, 3], dtype=np.int32)), pa.py_buffer(b"aa\xff")
    return pa.table({"text": pa.Array.from_buffers(pa.string(), 2, [None, offsets, letters]), "label": ["1", "0"]})


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


GOOD = parquet([{"text": f"text {number}", "label": number % 2} for number in range(200)])


def other_letter() -> bytes:
    """A file with a checksum of its pages, in which one letter of a text is another one."""
    file = io.BytesIO()
    table = pa.table({"text": ["a"] * 9, "label": ["1"] * 9})
    pq.write_table(table, file, write_page_checksum=True, use_dictionary=False, compression="none")
    return file.getvalue().replace(b"\x01\x00\x00\x00a", b"\x01\x00\x00\x00b", 1)


FAR = pa.table({"text": ["a"], "label": pa.array([2**62], pa.timestamp("us"))})
DEEP = b'{"text": "a", "label": 1, "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("parquet", parquet(two_labels()), r"The header of f names 'label' more than once.*Next: rename"),
        ("parquet", parquet(not_utf8()), r"Column 'text' of f, row 2, cannot be read: .*expected text in UTF-8.*Next"),
        ("parquet", parquet(FAR), r"Column 'label' of f, row 1, cannot be read: date value out of range; expected"),
        ("parquet", GOOD[:300] + GOOD[-300:], r"f is not Parquet, or is damaged: .*Next: get the file again"),
        ("parquet", flip(GOOD, len(GOOD) - 6), r"f is not Parquet, or is damaged: .*Next: get the file again"),
        ("parquet", other_letter(), r"f is not Parquet, or is damaged: .*CRC"),
        ("parquet", parquet([{"text": "a", "label": math.inf}]), r"Column 'label' of f, row 1, is an infinite number"),
        ("jsonl", b'{"text": "a", "label": 1e999}', r"Column 'label' of f, line 1, is an infinite number.*Next: mend"),
        ("jsonl", b'{"text": -1e999, "label": 1}', r"Column 'text' of f, line 1, is an infinite number.*expected text"),
        ("jsonl", b'\n{"text": "a\\ud800", "label": 1}', r"Column 'text' of f, line 2, has '\\ud800' at character 2"),
        ("jsonl", b'{"text": "a", "label": "\\udfff"}', r"Column 'label' of f, line 1, has '\\udfff' at character 1"),
        ("jsonl", DEEP, r"f, line 1, holds lists or objects within each other more deeply .*expected an object.*Next"),
        ("jsonl", b"\n" + b"[" * 100_000, r"f, line 2, holds lists or objects within each other more deeply"),
    ],
)
def test_a_value_that_nobody_can_mean_is_refused(kind: str, data: bytes, sentence: str) -> None:
    """Also where the task knows a label of that name: what a computer makes of the value stands nowhere in the file."""
    with pytest.raises(ConfigurationError, match=sentence):
        read_rows(data, layout(kind), ["0", "1", "Infinity", "\ud800", "\udfff"], "f")


def test_whole_surrogate_pairs_are_text() -> None:
    assert read_rows(b'{"text": "\\ud83d\\ude00", "label": 1}', layout("jsonl"), ["1"], "f") == [("\U0001f600", "1")]


def test_wherever_parquet_is_damaged_rows_or_a_sentence_come_of_it() -> None:
    for place in range(0, len(GOOD), 7):
        with contextlib.suppress(ConfigurationError):
            assert len(read_rows(flip(GOOD, place), layout("parquet"), ["0", "1"], "f")) > 0
