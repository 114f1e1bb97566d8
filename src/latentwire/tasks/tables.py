"""Rows of a data file: the texts and labels in it, whatever its format."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from latentwire.errors import ConfigurationError
from latentwire.params.formats import CsvFormat, DataFormat, JsonlFormat, OrangeFormat, TsvFormat
from latentwire.tasks.delimited import read_csv, read_tsv
from latentwire.tasks.orange import read_orange
from latentwire.tasks.records import Record, read_jsonl, read_parquet

Row = tuple[str, str]
"""Text and label key."""


def read_rows(data: bytes, layout: DataFormat, labels: Collection[str], where: str) -> list[Row]:
    """Texts and labels of a file, in its order, of those rows that pass the layout's `where` and have a label.

    Args:
        data: The file's bytes; UTF-8, or Parquet.
        layout: Its format and columns.
        labels: Label keys that the task knows.
        where: What to call the file in messages.

    Raises:
        ConfigurationError: The file does not parse, or a column, a value to filter by or a label is unknown.
    """
    wanted = {*layout.text_columns, layout.label, *layout.where}
    records = _open_records(data, layout, wanted, where)
    rows = [_row(record, place, layout, labels) for place, record in _select_records(records, layout, wanted)]
    if not rows:
        raise ConfigurationError(
            f"{where} has no row{' with ' + str(layout.where) if layout.where else ''}; expected texts and labels. "
            "Next: correct `source` or `format.where` of the task in params.yaml."
        )
    return rows


def _open_records(data: bytes, layout: DataFormat, wanted: Collection[str], where: str) -> Iterator[tuple[str, Record]]:
    """Place in the file and record of every row."""
    match layout:
        case CsvFormat():
            return read_csv(data, layout.columns, where)
        case TsvFormat():
            return read_tsv(data, layout.columns, layout.quotes, where)
        case OrangeFormat():
            return read_orange(data, wanted, where)
        case JsonlFormat():
            return read_jsonl(data, wanted, where)
        case _:
            return read_parquet(data, wanted, where)


def _select_records(
    records: Iterator[tuple[str, Record]], layout: DataFormat, wanted: Collection[str]
) -> Iterator[tuple[str, Record]]:
    for place, record in records:
        missing = set(wanted) - record.keys()
        if missing:
            raise ConfigurationError(
                f"{place}, has the columns {', '.join(map(repr, record))}; expected "
                f"{', '.join(map(repr, sorted(wanted)))}. Next: correct `format` of the task in params.yaml."
            )
        selected = all(record[column] in _listed(values) for column, values in layout.where.items())
        if selected and record[layout.label] not in layout.unlabelled:
            yield place, record


def _listed(values: str | tuple[str, ...]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else values


def _row(record: Record, place: str, layout: DataFormat, labels: Collection[str]) -> Row:
    label = record[layout.label]
    if label not in labels:
        raise ConfigurationError(f"{_name_label(label)} in column {layout.label!r} of {place}; {_known(labels)}")
    return _compose_text(record, layout), label


def _compose_text(record: Record, layout: DataFormat) -> str:
    """The text; a pair of which one half is missing is no text."""
    if not all(record[column].strip() for column in layout.text_columns):
        return ""
    return "".join(words + ("" if column is None else record[column]) for words, column in layout.pieces)


def _name_label(label: str) -> str:
    return f"Unknown label {label!r}" if label.strip() else f"No label ({label!r})"


def _known(labels: Collection[str]) -> str:
    return (
        f"known are {', '.join(map(repr, labels))}. Next: add it to `labels` of the task in params.yaml, or leave its "
        "rows out with `format.unlabelled` or `format.where`."
    )
