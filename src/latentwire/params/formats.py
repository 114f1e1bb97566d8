"""How a data file is read, as `params.yaml` names it: one class for each kind of file, and what all kinds share."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from latentwire.params.section import Distinct, Section


def read_cell(value: Any) -> Any:
    """A value of a data file as its readers say it: YAML's 1 and true are the texts `1` and `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def read_label_keys(labels: Any) -> Any:
    """Labels with their keys as the readers say them.

    Raises:
        ValueError: Two keys are one label, such as 1 and "1".
    """
    if not isinstance(labels, Mapping):
        return labels
    keys = [read_cell(key) for key in labels]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise ValueError(f"labels name {', '.join(map(repr, twice))} more than once; expected each once")
    return dict(zip(keys, labels.values(), strict=True))


Cell = Annotated[str, BeforeValidator(read_cell)]


class TableFormat(Section):
    """What is the same for every kind of file."""

    text: str | None = None
    """Column of the text; where a text is made of several columns, `template` stands in its place."""
    template: str | None = None
    """A text made of columns, each named in braces, such as "{premise} Question: {hypothesis}"; {{ is a brace."""
    label: str
    """Column of the label."""
    where: dict[str, Cell | Annotated[tuple[Cell, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Rows are kept only where each named column has this value, or one of these."""
    unlabelled: tuple[Cell, ...] = ()
    """Values of the label's column that mean that a row has no label, such as "" or -1; these rows are left out."""

    @model_validator(mode="after")
    def _one_text(self) -> TableFormat:
        if (self.text is None) == (self.template is None):
            raise ValueError(
                f"expected one of text (a column) and template (several), found {self.text!r}, {self.template!r}"
            )
        if not self.text_columns:
            raise ValueError(f"template names no column in braces, found {self.template!r}")
        return self

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that the text is made of, each once."""
        columns = (column for _, column in self.pieces if column is not None)
        return tuple(dict.fromkeys(columns))

    @property
    def pieces(self) -> list[tuple[str, str | None]]:
        """The text as pairs of literal words and the column that follows them; None at the end of a template.

        Raises:
            ValueError: The template's braces are not balanced, or hold more than the name of a column.
        """
        if self.template is None:
            return [("", self.text)]
        pieces = []
        for words, column, form, conversion in string.Formatter().parse(self.template):
            if form or conversion or column == "":
                raise ValueError(
                    f"template has braces with something else than the name of a column, found {self.template!r}"
                )
            pieces.append((words, column))
        return pieces


class WithoutHeader(TableFormat):
    """What text files with one row a line share."""

    columns: Distinct[str] | None = None
    """Names of all columns, of a file without a header line."""

    @model_validator(mode="after")
    def _columns_are_named(self) -> WithoutHeader:
        absent = {*self.text_columns, self.label, *self.where}.difference(self.columns or ())
        if self.columns is not None and absent:
            raise ValueError(f"columns must name {', '.join(map(repr, sorted(absent)))}, found {self.columns}")
        return self


class CsvFormat(WithoutHeader):
    """Comma-separated, with a header line unless `columns` says otherwise; quoted cells hold any character."""

    kind: Literal["csv"]


class TsvFormat(WithoutHeader):
    """Tab-separated, with a header line unless `columns` says otherwise."""

    kind: Literal["tsv"]
    quotes: bool = True
    """Whether a cell in quotation marks stands for what is between them; False where they are part of the text."""


class OrangeFormat(TableFormat):
    """Tab-separated as Orange writes it: three header lines (names, types, roles) or one (`mS#name`)."""

    kind: Literal["orange"]


class JsonlFormat(TableFormat):
    """A JSON object on each line; columns are its keys."""

    kind: Literal["jsonl"]


class ParquetFormat(TableFormat):
    """Apache Parquet."""

    kind: Literal["parquet"]


_KINDS = {
    "csv": "CsvFormat",
    "tsv": "TsvFormat",
    "orange": "OrangeFormat",
    "jsonl": "JsonlFormat",
    "parquet": "ParquetFormat",
}


def _kind_of_format(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return _KINDS.get(kind) if isinstance(kind, str) else None


DataFormat = Annotated[
    Annotated[CsvFormat, Tag("CsvFormat")]
    | Annotated[TsvFormat, Tag("TsvFormat")]
    | Annotated[OrangeFormat, Tag("OrangeFormat")]
    | Annotated[JsonlFormat, Tag("JsonlFormat")]
    | Annotated[ParquetFormat, Tag("ParquetFormat")],
    Discriminator(
        _kind_of_format,
        custom_error_type="format",
        custom_error_message=f"a format needs a kind, one of {', '.join(_KINDS)}",
    ),
]
