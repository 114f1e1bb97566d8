"""Numbers and words as LaTeX, and templates that cannot print what they were not given."""

from __future__ import annotations

import jinja2
import pytest

from latentwire.errors import EvidenceError
from latentwire.reporting.numbers import (
    Tex,
    bold,
    decimals_for,
    escape,
    interval,
    listed,
    p_clause,
    p_value,
    percent,
    points,
    signed,
    whole_digits,
)
from latentwire.reporting.templates import _environment, check


def test_words_are_escaped_once() -> None:
    assert escape(r"50% of A&B_#1 {x} ~ ^ $ \ <|>") == (
        r"50\% of A\&B\_\#1 \{x\} \textasciitilde{} \textasciicircum{} \$ \textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert escape(escape("A & B")) == r"A \& B"
    assert listed(["A & B", "c", "d"]) == r"A \& B, c and d"
    assert listed(["A"]) == "A"


def test_numbers() -> None:
    assert points(0.7461) == "74.6"
    assert points(-0.0001) == "0.0"
    assert points(None) == "{--}"
    assert bold(points(0.5)) == r"\bfseries 50.0"
    assert percent(0.7461) == r"74.6\,\%"
    assert (signed(0.05), signed(-0.05)) == ("+5.0", "$-$5.0")
    assert interval(-0.19, 0.104, sign=True) == "[$-$19.0, +10.4]"
    assert interval(0.7, 0.8) == "[70.0, 80.0]"
    assert interval(None, None) == "--"
    assert (p_value(0.0004), p_value(0.0312), p_value(None)) == (r"$<$\,0.001", "0.031", "--")
    assert p_clause(0.012, "Holm") == r"$p_{\mathrm{Holm}} = 0.012$"


def test_digits_follow_the_intervals() -> None:
    assert decimals_for([0.03, 0.05, 0.08]) == 1
    assert decimals_for([0.003, 0.004, 0.08]) == 2
    assert decimals_for([]) == 1


def test_columns_make_room_for_a_hundred_percent() -> None:
    assert whole_digits([0.5, 0.999]) == 2
    assert whole_digits([0.5, -0.9996]) == 3


def test_what_is_no_number_is_never_printed() -> None:
    with pytest.raises(ValueError, match="nan was to be printed"):
        points(float("nan"))


@pytest.mark.parametrize("value", [None, 0.5, True])
def test_a_value_without_a_format_is_refused(value: object) -> None:
    with pytest.raises(EvidenceError, match="without a format"):
        _environment().from_string("<< x >>").render(x=value)


def test_a_name_that_was_not_given_is_refused() -> None:
    with pytest.raises(jinja2.UndefinedError):
        _environment().from_string("<< missing >>").render()


def test_templates_escape_by_default() -> None:
    template = _environment().from_string("<< a >> << b >>")
    assert template.render(a="R&D", b=Tex(r"\dag")) == r"R\&D \dag"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 & nan", "'nan'"),
        ("None", "'None'"),
        ("[-inf, 2]", "'inf'"),
        (r"\textbf{x", "1 opening and 0 closing"),
        (r"\toprule a & b \\ a & b & c \\ \bottomrule", r"rows of \[2, 3\] columns"),
        (r"\toprule a & b & c \\ \multicolumn{2}{l}{a} & b \\ \multicolumn{3}{l}{a} & b \\ \bottomrule", r"\[3, 4\]"),
    ],
)
def test_latex_that_would_compile_to_nonsense_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(EvidenceError, match=complaint):
        check(text, "a table")


def test_sound_latex_passes() -> None:
    check(r"\toprule A \& B & c \\ \multicolumn{2}{l}{infinite nannies} \\ \bottomrule % nan {", "a table")
