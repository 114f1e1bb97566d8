"""Tables: what the two formats mean, and what is said when a file is not one of them."""

from __future__ import annotations

from typing import Any

import pytest

from latentwire.errors import ConfigurationError
from latentwire.params.sections import TableFormat
from latentwire.tasks.tables import read_rows

CSV = b'text,label,source\r\n"two\nlines, ""quoted""",1,film\r\nplain,0,film\r\nelsewhere,9,book\r\n'
# The first lines of Orange's own reuters-r8-train.tab, shortened.
ORANGE = b'Category\tText\nd\tstring\nclass\t\n\nearn\tchamp "products\x85 ch reuter \nacq\tcomputer terminal\n'


def layout(kind: str, **more: Any) -> TableFormat:
    columns = {"csv": {"text": "text", "label": "label"}, "orange": {"text": "Text", "label": "Category"}}[kind]
    return TableFormat.model_validate({"kind": kind, **columns, **more})


def test_comma_separated_rows_are_filtered_before_their_labels_are_checked() -> None:
    rows = read_rows(CSV, layout("csv", where={"source": "film"}), ["0", "1"], "f.csv")
    assert rows == [('two\nlines, "quoted"', "1"), ("plain", "0")]


def test_orange_has_three_header_lines_and_no_quoting() -> None:
    rows = read_rows(ORANGE.replace(b"\x85", "\x85".encode()), layout("orange"), ["acq", "earn"], "f.tab")
    assert rows == [('champ "products\x85 ch reuter ', "earn"), ("computer terminal", "acq")]


@pytest.mark.parametrize("length", [131_073, 1_000_000])
def test_a_text_of_any_length(length: int) -> None:
    text = "x" * length
    assert read_rows(f"text,label\n{text},0\n".encode(), layout("csv"), ["0"], "f.csv") == [(text, "0")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_line_end(end: bytes) -> None:
    data = end.join([b"text,label", b"a,0", b"b,0", b""])
    assert read_rows(data, layout("csv"), ["0"], "f.csv") == [("a", "0"), ("b", "0")]


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
        (b"Category\tText\nd\ts\nclass\t\n\n1\ta\tb\n", layout("orange"), r"f, line 5, has 3 cells; expected 2, as"),
        (b"Text\tText\nd\ts\nclass\t\n1\ta\n", layout("orange"), r"The header of f names 'Text' more than once"),
        (CSV, layout("csv", where={"year": "1"}), r"expected 'label', 'text', 'year'. Next: correct `format`"),
        (b'text,label\n"a,0\n', layout("csv"), r"f, line 2, is not comma-separated text: .*Next: mend the file"),
        (b"text,label\n\xff,0\n", layout("csv"), r"f is not UTF-8 .*Next: convert it"),
        (b"", layout("orange"), r"f has no row"),
        (
            b"text,label,source\nx,0,book\n",
            layout("csv", where={"source": "film"}),
            r"f has no row with {'source': 'film'}; .*Next: correct `source` or `format.where`",
        ),
    ],
)
def test_a_file_of_another_form_is_said_where_and_how(data: bytes, form: TableFormat, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_rows(data, form, ["0", "1"], "f")
