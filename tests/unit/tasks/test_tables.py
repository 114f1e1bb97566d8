"""Comma-separated files: what they mean, and what is said when a file is not one."""

from __future__ import annotations

import pytest

from latentwire.errors import ConfigurationError
from latentwire.params.formats import DataFormat
from latentwire.tasks.tables import read_rows
from tests.support.data_formats import layout

CSV = b'text,label,source\r\n"two\nlines, ""quoted""",1,film\r\nplain,0,film\r\nelsewhere,9,book\r\n'


def test_rows_are_filtered_before_their_labels_are_checked() -> None:
    rows = read_rows(CSV, layout("csv", where={"source": "film"}), ["0", "1"], "f.csv")
    assert rows == [('two\nlines, "quoted"', "1"), ("plain", "0")]


@pytest.mark.parametrize("length", [131_073, 1_000_000])
def test_a_text_of_any_length(length: int) -> None:
    text = "x" * length
    assert read_rows(f"text,label\n{text},0\n".encode(), layout("csv"), ["0"], "f.csv") == [(text, "0")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_line_end(end: bytes) -> None:
    data = end.join([b"text,label", b"a,0", b"b,0", b""])
    assert read_rows(data, layout("csv"), ["0"], "f.csv") == [("a", "0"), ("b", "0")]


@pytest.mark.parametrize("before", ["", "\n", "\r\n\r\n", "  \n,\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_are_no_header_and_no_rows(before: str, end: str) -> None:
    data = f"{before}text,label\n\na,0\n   \n,\nb,0".replace("\n", end).encode()
    assert read_rows(data, layout("csv"), ["0"], "f.csv") == [("a", "0"), ("b", "0")]


def test_columns_are_named_where_the_file_has_no_header() -> None:
    """As AG News: label, title, description."""
    form = layout("csv", text=None, template="{title}: {body}", columns=["label", "title", "body"])
    data = b'"3","Oil","up, again"\n"2","Cup","won"\n'
    assert read_rows(data, form, ["2", "3"], "f.csv") == [("Oil: up, again", "3"), ("Cup: won", "2")]


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    assert read_rows(b"\xef\xbb\xbftext,label\na,0\n", layout("csv"), ["0"], "f.csv") == [("a", "0")]


@pytest.mark.parametrize(
    ("data", "form", "sentence"),
    [
        (
            CSV,
            layout("csv"),
            r"Unknown label '9' in column 'label' of f, line 5; known are '0', '1'. Next: add it to `labels`",
        ),
        (
            b"words,label\na,0\n",
            layout("csv"),
            r"f, line 2, has the columns 'words', 'label'; expected 'label', 'text'",
        ),
        (b"text,label\na\n", layout("csv"), r"f, line 2, has 1 cells; expected 2, as its header has. Next: mend"),
        (b"text,label\na,0\nb, c,0\n", layout("csv"), r"f, line 3, has 3 cells; expected 2"),
        (b"text,label,\na,0\n", layout("csv"), r"f, line 2, has 2 cells; expected 3"),
        (b"text,label,text\na,0,b\n", layout("csv"), r"The header of f names 'text' more than once.*Next: rename"),
        (b'"text,label\na,0\n', layout("csv"), r"f, line \d, is not comma-separated text: .*Next: mend the file"),
        (CSV, layout("csv", where={"year": "1"}), r"expected 'label', 'text', 'year'. Next: correct `format`"),
        (b'text,label\na,0\n"b,0\nc,1\n', layout("csv"), r"f, line 3, is not comma-separated text: .*Next: mend"),
        (b'text,label\n"a" b,0\n', layout("csv"), r"f, line 2, is not comma-separated text: .*Next: mend the file"),
        (b"\n\ntext,label\n\na,0\n\nb,9\n", layout("csv"), r"Unknown label '9' in column 'label' of f, line 7"),
        (b"\n \ntext,label\nb, c,0\n", layout("csv"), r"f, line 4, has 3 cells; expected 2"),
        (b"\rtext,label\ra,0\r\rb,9\r", layout("csv"), r"Unknown label '9' in column 'label' of f, line 5"),
        (b"", layout("csv"), r"f has no row; expected texts and labels"),
        (b"text,label\n\xff,0\n", layout("csv"), r"f is not UTF-8 .*Next: convert it"),
        (
            b"text,label,source\nx,0,book\n",
            layout("csv", where={"source": "film"}),
            r"f has no row with {'source': 'film'}; .*Next: correct `source` or `format.where`",
        ),
    ],
)
def test_a_file_of_another_form_is_said_where_and_how(data: bytes, form: DataFormat, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_rows(data, form, ["0", "1"], "f")
