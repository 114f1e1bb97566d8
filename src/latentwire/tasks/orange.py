"""Records of Orange's tab-separated files, read as Orange's own reader (`Orange.data.io_base`, 3.40) reads them.

Orange writes them with Python's `csv` module, so a cell with a tab, a line end or a quotation mark is quoted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator

from latentwire.errors import ConfigurationError
from latentwire.tasks.delimited import Line, is_blank, name_cells, split_cells
from latentwire.tasks.records import Record, decode_text

_TYPES = {"continuous", "c", "numeric", "n", "discrete", "d", "categorical", "string", "s", "text", "time", "t"}
_ROLES = {"class", "c", "ignore", "i", "meta", "m", "weight", "w"}
# As `mS#name`: a role and a type, in any order.
_PREFIXED = re.compile(r"(?:(?P<marks>[cimw]|[CNDST]|[cimw][CNDST]|[CNDST][cimw])#)?(?P<name>.*)", re.DOTALL)

Column = tuple[str, bool]
"""Its name, and whether it is to be ignored."""


def read_orange(data: bytes, wanted: Collection[str], where: str) -> Iterator[tuple[str, Record]]:
    """A record of each row under the header, white space around cells taken off.

    Raises:
        ConfigurationError: The file does not parse, or a wanted column is one that the header says to ignore.
    """
    rows = split_cells(decode_text(data, where), where, "tab", delimiter="\t", skipinitialspace=True)
    lines = ((number, [cell.strip() for cell in cells]) for number, cells in rows)
    columns, below = _read_header(itertools.dropwhile(is_blank, lines))
    for name in (name for name, ignored in columns if ignored and name in wanted):
        raise ConfigurationError(
            f"Column {name!r} of {where} is marked `ignore` in its header, so Orange itself would not read it. "
            "Next: name another column in `format` of the task in params.yaml, or take the mark out of the file."
        )
    return name_cells([name for name, _ in columns], itertools.filterfalse(is_blank, below), where)


def _read_header(lines: Iterator[Line]) -> tuple[list[Column], Iterator[Line]]:
    """The columns, and the lines under a header of three lines, if the second and third can be of one, or of one."""
    top = list(itertools.islice(lines, 3))
    cells = [line[1] for line in top]
    if len(top) == 3 and all(map(_is_type, cells[1])) and all(map(_are_roles, cells[2])):
        roles = itertools.chain(cells[2], itertools.repeat(""))
        return [(name, _ignores(role)) for name, role in zip(cells[0], roles, strict=False)], lines
    return [_read_prefixed(name) for name in itertools.chain(*cells[:1])], itertools.chain(top[1:], lines)


def _is_type(cell: str) -> bool:
    """Whether it names a type, or the values of a discrete column, which are two or more; it may be empty."""
    return not cell or cell in _TYPES or len(cell.split()) > 1


def _are_roles(cell: str) -> bool:
    """Whether it is made of roles and of attributes as `include=True`; it may be empty."""
    return all(role in _ROLES or "=" in role[1:] for role in _split_roles(cell))


def _ignores(roles: str) -> bool:
    return not {"i", "ignore"}.isdisjoint(_split_roles(roles))


def _split_roles(cell: str) -> list[str]:
    """The words of a cell; a backslash before a space keeps it within a word."""
    return [word for word in re.split(r"(?<!\\) ", cell) if word]


def _read_prefixed(cell: str) -> Column:
    match = _PREFIXED.fullmatch(cell)
    marks, name = match.group("marks", "name") if match else ("", cell)
    return name, "i" in (marks or "")
