"""Names that users give: every face prints them as they are, or the parameters refuse them before anything is drawn."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.errors import ConfigurationError, EvidenceError
from latentwire.params.load import parse_params
from latentwire.params.printed_names import ACCENTED, GREEK, MARKS, MATHEMATICAL, MOST_LETTERS, PRINTED, clean_name
from latentwire.reporting.build import build_report
from latentwire.reporting.checks import check_blocks
from latentwire.reporting.document import (
    Code,
    Column,
    Document,
    Emphasis,
    ItemList,
    Paragraph,
    RowGroup,
    Strong,
    Table,
    TableRow,
)
from latentwire.reporting.escaping import wrap_name
from latentwire.reporting.figures import draw_accuracies
from latentwire.reporting.latex import compile_paper
from latentwire.reporting.paper import build_paper
from latentwire.reporting.render import render_html, render_latex, render_markdown, render_table
from latentwire.reporting.report_data import SCHEMA, ReportData, read_report_data
from latentwire.reporting.tables import build_tables
from latentwire.statistics.summary import STATS_SCHEMA
from tests.support import synthetic_predictions
from tests.unit.reporting.printing import print_html, print_latex, print_markdown

ROOT = Path(__file__).parents[3]
PLAIN = (
    *("A--B ''q'' ,,x", "a---b", "q?`x!`", "<<a>>", "-- ,, ''", "$x^2$ 100% of_it", "[x] wire", "* wire", "_hidden"),
    *("None", "nan", "inf", "α-wire", "≤ ≥ × ± → −", "Größe Łódź İstanbul", "“quoted” – and — so…"),
)
"""Names that every face prints as they are."""
TYPED = {
    "’": "'",
    "∗": "*",
    "ˆ": "^",
    "˜": "~",
    "∼": "~",
    "µ": "μ",
    ". . .": "…",
    "...": "…",
    "ε": "ε",
    "ϕ": "φ",
    "Ω": "Ω",
    "∆": "Δ",
}
"""What `pdftotext` makes of a sign → what was typed."""
needs_tex = pytest.mark.skipif(
    None in (shutil.which("latexmk"), shutil.which("pdftotext")), reason="latexmk or pdftotext is not installed"
)


def _params(**names: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["report"]["names"] |= names
    return values


def _named(data: ReportData, **names: str) -> ReportData:
    return ReportData(data.stats, data.curves, {**data.names, **names})


@pytest.fixture(scope="module")
def data(aggregated: Path) -> ReportData:
    return read_report_data(aggregated / "results/aggregate", synthetic_predictions.NAMES)


def _read_back(paper: Path | None) -> str:
    shown = subprocess.run(["pdftotext", str(paper), "-"], capture_output=True, text=True, check=True).stdout
    shown = unicodedata.normalize("NFC", shown)
    for sign, typed in TYPED.items():
        shown = shown.replace(sign, typed)
    return re.sub(r"\s+", "", shown)


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_that_the_parameters_take_is_printed_as_it_is(name: str) -> None:
    assert parse_params(_params(wire=name), "params.yaml").report.names["wire"] == name
    assert html.unescape(print_html((Emphasis((name,)),))) == f"<em>{name}</em>"
    assert re.sub(r"\\(.)", r"\1", print_markdown((Emphasis((name,)),))) == f"*{name}*"


@needs_tex
@pytest.mark.long
def test_the_pdf_prints_the_same_names(tmp_path: Path) -> None:
    paragraphs = [
        Paragraph((f"{number}(", name, ")(", Emphasis((name,)), ")(", Code(name), f"){number}"))
        for number, name in enumerate(PLAIN)
    ]
    table = Table(
        (Column((PLAIN[0],)),),
        (RowGroup((), tuple(TableRow(((n,),)) for n in PLAIN)),),
        "t",
        (PLAIN[0],),
        ((PLAIN[0],),),
    )
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.tex").write_text(render_table(table, PLAIN), encoding="utf-8")
    blocks = (*paragraphs, ItemList(tuple((name,) for name in PLAIN)), table)
    document = Document("Title “α ≤ β”", blocks, given_words=PLAIN)
    (tmp_path / "paper.tex").write_text(render_latex(document), encoding="utf-8")
    shown = _read_back(compile_paper(tmp_path / "paper.tex"))
    printed_names = [re.sub(r"\s+", "", name) for name in PLAIN]
    assert "•".join(printed_names) in shown
    assert "".join(printed_names) in shown
    for number, printed in enumerate(printed_names):
        assert f"{number}({printed})({printed})({printed}){number}" in shown
    info = subprocess.run(["pdfinfo", str(tmp_path / "paper.pdf")], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^Title: +Title “α ≤ β”$", info, flags=re.M)


@needs_tex
@pytest.mark.long
def test_latex_has_every_character_that_a_name_may_have(tmp_path: Path) -> None:
    letters = sorted(PRINTED - {" "})
    blocks = tuple(Paragraph((letter, Emphasis((letter,)), Strong((letter,)), Code(letter))) for letter in letters)
    (tmp_path / "paper.tex").write_text(render_latex(Document("T", blocks)), encoding="utf-8")
    shown = _read_back(compile_paper(tmp_path / "paper.tex"))
    lost = [letter for letter in GREEK if letter not in shown]
    assert lost == []
    assert len(PRINTED) == 95 + len(ACCENTED + GREEK + MARKS + MATHEMATICAL)


def test_the_font_of_the_figures_has_them_too() -> None:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    drawn = FT2Font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    assert [letter for letter in {*PRINTED, "\u200b"} if ord(letter) not in drawn] == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("a 模 b", "'a 模 b' has U+6A21 (CJK UNIFIED IDEOGRAPH-6A21) at place 3"),
        ("x\u0338", "U+0338 (COMBINING LONG SOLIDUS OVERLAY)"),
        ("a\x07b", r"'a\x07b' has U+0007 (a character without a name) at place 2"),
        ("a\u202eb", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("wire 🙂", "U+1F642 (SLIGHTLY SMILING FACE) at place 6"),
        ("a\u200bb", "U+200B (ZERO WIDTH SPACE)"),
        ("x" * (MOST_LETTERS + 1), f"has {MOST_LETTERS + 1} letters; expected at most {MOST_LETTERS}"),
    ],
)
def test_what_the_fonts_lack_is_refused_with_the_parameters(name: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_params(_params(wire=name), "params.yaml")
    assert str(caught.value).startswith("params.yaml: `report.names.wire`: ")
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("Next: mend it, then `latentwire params`.")


def test_a_title_is_held_to_the_same_characters() -> None:
    values = _params()
    values["report"]["title"] = "Wire 模"
    with pytest.raises(ConfigurationError, match=r"`report\.title`: 'Wire 模' has U\+6A21"):
        parse_params(values, "params.yaml")
    values["report"]["title"] = "a long title " * 9
    assert parse_params(values, "params.yaml").report.title == ("a long title " * 9).strip()


@pytest.mark.parametrize(
    ("given", "kept"),
    [(" lead ", "lead"), ("\u00a0a\n  b\t", "a b"), ("Cafe\u0301", "Café"), ("a\u00a0b", "a\u00a0b")],
)
def test_blanks_around_a_name_are_dropped_so_that_emphasis_stays_emphasis(given: str, kept: str) -> None:
    assert clean_name(given) == kept


def test_a_label_of_the_data_that_latex_lacks_is_printed_by_its_number() -> None:
    assert print_latex("a模") == "a[U+6A21]"
    assert print_latex("e\u0301") == "e[U+0301]"


@pytest.mark.parametrize("name", ["None", "nan", "inf", "Undefined behaviour"])
def test_a_user_may_call_a_method_what_python_calls_no_number(name: str, data: ReportData) -> None:
    named = _named(data, wire=name, r8=f"{name} 8")
    tables = build_tables(named)
    document = build_paper(named, "Title", tables)
    assert name in render_latex(document)
    assert all(render_table(table, document.given_words) for table in tables)
    assert name in render_html(document, dict.fromkeys([figure.name for figure in document.figures], "<svg></svg>"))
    assert name in render_markdown(document)


@pytest.mark.parametrize("text", ["nan", "Wire nan", "nan (None)", "nannan inf"])
def test_a_placeholder_beside_such_a_name_is_still_refused(text: str) -> None:
    with pytest.raises(EvidenceError, match="expected a number or a dash"):
        check_blocks([Paragraph((text,))], "a paragraph", ("None", "nan x", "nannan"))
    check_blocks([Paragraph(("None wins, None-r8 too",))], "a paragraph", ("None",))


@pytest.mark.long
def test_figures_take_no_name_for_a_formula_and_leave_none_out(data: ReportData, tmp_path: Path) -> None:
    names = {"text": "$x^2$ 100%", "probe": r"\$a_b$", "calibrated": "α ≤ $", "r8": "$r$"}
    draw_accuracies(_named(data, **names), tmp_path)
    drawing = html.unescape((tmp_path / "accuracy.svg").read_text(encoding="utf-8"))
    for name in names.values():
        assert f"<!-- {name}" in drawing
    assert _named(data, wire="_w").drawn_name("wire").lstrip("\u200b") == "_w"
    assert not _named(data, wire="_w").drawn_name("wire").startswith("_")


def test_a_long_name_is_broken_into_lines() -> None:
    assert wrap_name(("Text (calibrated)",)) == [("Text (calibrated)",)]
    assert wrap_name(("Wire – Text (calibrated)",)) == [("Wire – Text (calibrated)",)]
    assert wrap_name(("Adapter wire – Text (calibrated)", "†")) == [("Adapter wire –",), ("Text (calibrated)", "†")]
    assert wrap_name(("Adapter with eight latents",)) == [("Adapter with",), ("eight latents",)]
    assert wrap_name(("x" * 40,)) == [("x" * 17,), ("x" * 17,), ("x" * 6,)]


@needs_tex
@pytest.mark.parametrize("letters", [15, 17, 40, MOST_LETTERS])
@pytest.mark.long
def test_a_paper_with_long_names_compiles(letters: int, data: ReportData, tmp_path: Path) -> None:
    """Every method, task and model at once, without its figures."""
    keys = (*data.methods, *data.tasks, *data.receivers, "minilm")
    phrase = "Wide adapter with several latent channels of a former language model"
    named = _named(data, **{key: f"{number} {phrase}"[:letters].strip() for number, key in enumerate(keys)})
    tables = build_tables(named)
    (tmp_path / "tables").mkdir()
    for table in tables:
        (tmp_path / f"tables/{table.name}.tex").write_text(render_table(table), encoding="utf-8")
    latex = render_latex(build_paper(named, "Title", tables))
    (tmp_path / "paper.tex").write_text(re.sub(r"\\includegraphics\{.*\}", "", latex), encoding="utf-8")
    assert compile_paper(tmp_path / "paper.tex") is not None


def test_a_name_that_another_row_has_by_itself_is_refused(aggregated: Path, tmp_path: Path) -> None:
    shutil.copytree(aggregated / "results/aggregate", tmp_path / "results/aggregate")
    expected = "would print 'Probe on Wire' for text and wire-probe, expected a name for each. Next: give"
    with pytest.raises(ConfigurationError, match=expected):
        build_report(tmp_path, "Title", {**synthetic_predictions.NAMES, "text": "Probe on Wire"})
    assert not (tmp_path / "reports").exists()


def test_one_thing_is_not_printed_as_several(data: ReportData) -> None:
    setup = json.loads(json.dumps(data.stats["setup"]))
    setup["sender"]["max_tokens"] = setup["baselines"]["max_tokens"] = setup["baselines"]["shots"] = 1
    setup["training"] |= {"steps": 1, "batch": 1, "warmup": 1, "shards": 1, "validate": {"every": 1, "examples": 1}}
    setup["methods"]["wire"] |= {"slots": 1, "depth": 1, "heads": 1, "width": 1}
    changed = ReportData({**data.stats, "setup": setup}, data.curves, data.names)
    printed = render_markdown(build_paper(changed, "Title", build_tables(changed)))
    assert "*M* = 1 vector of *d* = 1 number" in printed
    plural = re.findall(r"(?<![\d.,−–=] )(?<![\w.])1 (?:test |solved |labelled )?[a-z]+s\b", printed)
    assert set(plural) <= {"1 is", "1 has"}


def test_the_statistics_and_the_report_agree_on_the_schema() -> None:
    assert SCHEMA == STATS_SCHEMA
