"""Numbers and words as LaTeX, and templates that cannot print what they were not given."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from latentwire.errors import EvidenceError
from latentwire.reporting.checks import check_blocks, check_braces
from latentwire.reporting.document import Column, Paragraph, RowGroup, Strong, Table, TableRow, compose_text, join_items
from latentwire.reporting.escaping import escape_latex
from latentwire.reporting.number_format import (
    decimals_for,
    emphasize_best,
    format_interval,
    format_p_value,
    format_percent,
    format_points,
    format_signed,
    whole_digits,
)
from latentwire.reporting.render import html_environment, latex_environment, markdown_environment, render_table
from tests.unit.reporting import printing
from tests.unit.reporting.printing import print_latex

ENVIRONMENTS = {
    "LaTeX": (latex_environment, "<< {} >>"),
    "HTML": (html_environment, "{{{{ {} }}}}"),
    "Markdown": (markdown_environment, "{{{{ {} }}}}"),
}


def _table(*rows: tuple[str, ...], header: tuple[str, ...] = ("A", "B"), aligned: bool = False) -> Table:
    columns = tuple(Column((name,), digits=(2, 1) if aligned else None) for name in header)
    return Table(columns, (RowGroup((), tuple(TableRow(tuple((cell,) for cell in row)) for row in rows)),), "a", ("C",))


def test_words_are_escaped_once() -> None:
    assert escape_latex(r"50% of A&B_#1 {x} ~ ^ $ \ <|>") == (
        r"50\% of A\&B\_\#1 \{x\} \textasciitilde{} \textasciicircum{} \$ \textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert escape_latex(escape_latex("A & B")) == r"A \& B"
    assert print_latex(join_items(["A & B", "c", "d"])) == r"A \& B, c and d"
    assert print_latex(join_items(["A"])) == "A"


def test_numbers() -> None:
    assert format_points(0.7461) == "74.6"
    assert format_points(-0.0001) == "0.0"
    assert print_latex(format_percent(0.7461)) == r"74.6\,\%"
    assert (print_latex(format_signed(0.05)), print_latex(format_signed(-0.05))) == ("+5.0", "$-$5.0")
    assert print_latex(format_interval(-0.19, 0.104, sign=True)) == "[$-$19.0, +10.4]"
    assert format_interval(0.7, 0.8) == "[70.0, 80.0]"
    assert print_latex(format_interval(None, None)) == "--"
    printed = tuple(print_latex(format_p_value(p)) for p in (0.0004, 0.0312, None))
    assert printed == (r"$<$\,0.001", "0.031", "--")


def test_numbers_that_are_aligned_at_their_point() -> None:
    """siunitx prints a minus itself, keeps bold, and takes anything in braces for text."""
    cells = [(format_points(None),), emphasize_best(format_points(0.5), best=True), (format_points(-0.154),)]
    columns = (Column(("A & B",), digits=(2, 1)), Column(("Δ",), digits=(2, 1), signed=True))
    rows = tuple(TableRow((cell, ("1.0",))) for cell in cells)
    text = render_table(Table(columns, (RowGroup((), rows),), "a", ("C",)))
    assert r"{@{}S[table-format=2.1] S[table-format=+2.1,print-implicit-plus]@{}}" in text
    assert r"{A \& B} & {$\Delta$} \\" in text
    assert "{--} & 1.0 \\\\\n\\bfseries 50.0 & 1.0 \\\\\n-15.4 & 1.0 \\\\" in text


def test_digits_follow_the_intervals() -> None:
    assert decimals_for([0.03, 0.05, 0.08]) == 1
    assert decimals_for([0.003, 0.004, 0.08]) == 2
    assert decimals_for([]) == 1


def test_columns_make_room_for_a_hundred_percent() -> None:
    assert whole_digits([0.5, 0.999]) == 2
    assert whole_digits([0.5, -0.9996]) == 3


def test_what_is_no_number_is_never_printed() -> None:
    with pytest.raises(ValueError, match="nan was to be printed"):
        format_points(float("nan"))


@pytest.mark.parametrize("face", ENVIRONMENTS)
@pytest.mark.parametrize("value", [None, 0.5, True])
def test_a_value_without_a_format_is_refused(value: object, face: str) -> None:
    environment, pattern = ENVIRONMENTS[face]
    with pytest.raises(EvidenceError, match="without a format"):
        environment().from_string(pattern.format("x")).render(x=value)
    with pytest.raises(EvidenceError, match="without a format"):
        compose_text("{x}", x=value)


@pytest.mark.parametrize("face", ENVIRONMENTS)
def test_a_name_that_was_not_given_is_refused(face: str) -> None:
    environment, pattern = ENVIRONMENTS[face]
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string(pattern.format("missing")).render()
    with pytest.raises(KeyError):
        compose_text("{missing}")


@pytest.mark.parametrize(
    ("face", "expected"), [("LaTeX", r"R\&D * \dag"), ("HTML", r"R&amp;D * \dag"), ("Markdown", r"R&D \* \dag")]
)
def test_templates_escape_by_default(face: str, expected: str) -> None:
    environment, pattern = ENVIRONMENTS[face]
    template = environment().from_string(f"{pattern.format('a')} {pattern.format('b')}")
    assert template.render(a="R&D *", b=Markup(r"\dag")) == expected


def test_what_is_filled_in_is_never_read_as_a_pattern() -> None:
    assert compose_text("a {x} b", x="{y}", y="z") == ("a ", "{y}", " b")
    assert compose_text("{x}{y}", x=(Strong(("s",)), "t"), y=3) == (Strong(("s",)), "t", "3")


@pytest.mark.parametrize(
    ("cell", "complaint"), [("nan", "'nan'"), ("None", "'None'"), ("[-inf, 2]", "'inf'"), ("Undefined", "'Undefined'")]
)
def test_a_placeholder_instead_of_a_number_is_refused(cell: str, complaint: str) -> None:
    with pytest.raises(EvidenceError, match=complaint):
        render_table(_table(("1", cell)))
    with pytest.raises(EvidenceError, match=complaint):
        check_blocks([Paragraph((Strong((cell,)),))], "a paragraph")


def test_braces_that_do_not_match_are_refused() -> None:
    with pytest.raises(EvidenceError, match="1 opening and 0 closing"):
        check_braces(r"\textbf{x", "a table")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [([("a", "b", "c")], r"rows of \[2, 3\] columns"), ([("a", "b"), ("a",)], r"rows of \[1, 2\] columns")],
)
def test_rows_of_different_length_are_refused(rows: list[tuple[str, ...]], complaint: str) -> None:
    with pytest.raises(EvidenceError, match=complaint):
        _table(*rows)


def test_sound_latex_passes() -> None:
    check_braces(r"\toprule A \& B & c \\ \multicolumn{2}{l}{infinite nannies} \\ \bottomrule % nan {", "a table")
    assert r"A \& \{B & infinite nannies \\" in render_table(_table(("A & {B", "infinite nannies")))


@pytest.mark.parametrize("face", ENVIRONMENTS)
def test_a_piece_that_no_template_knows_is_refused_instead_of_lost(face: str) -> None:
    printer: Any = getattr(printing, f"print_{face.lower()}")
    with pytest.raises(EvidenceError, match="would be lost"):
        printer(("see ", ["this"]))
    with pytest.raises(EvidenceError, match="without a format"):
        compose_text("see {x}", x=["this"])
