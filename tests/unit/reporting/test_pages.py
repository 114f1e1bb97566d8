"""The page and the Markdown say what the paper says, and every number in them is one of `stats.json`."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from latentwire.digests import sha256_of
from latentwire.reporting.build import build_report
from latentwire.reporting.document import Document, Figure, FigureRow, Table, iterate_texts, plain_text
from latentwire.reporting.paper import build_paper
from latentwire.reporting.provenance import recorded_revision
from latentwire.reporting.render import render_html, render_latex, render_markdown
from latentwire.reporting.report_data import Revision, read_report_data
from latentwire.reporting.tables import build_tables
from tests.support import synthetic_predictions

TITLE = "A wire & <all> of its readers"
CLEAN = Revision("0123456789abcdef" + "0" * 24, dirty=False)
NUMBER = re.compile(r"(?<![\w.,:^-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w-])")
INLINE = ("em", "strong", "sub", "code", "a")
SAID = {"80", "0.001", "0", "100"}
"""The power of the detectable difference, the smallest p that is printed, and the ends of a share in percent."""


class Page(HTMLParser):
    """Text, ids and links of a page; drawings and style are left out of the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.text += "" if tag in INLINE else " "
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "xlink:href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"svg", "style", "code"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def reports(
    aggregated: Path,
    copying: Callable[[], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    with copying():
        return _build(aggregated, tmp_path_factory.mktemp("pages"), CLEAN)


def _build(aggregated: Path, root: Path, revision: Revision | None) -> Path:
    shutil.copytree(aggregated / "results/aggregate", root / "results/aggregate")
    build_report(root, TITLE, synthetic_predictions.NAMES, revision)
    return root / "reports"


def _printed(value: Any) -> Iterator[str]:
    """Every form in which a number of the statistics may be printed, and how many things there are of each kind."""
    if isinstance(value, dict | list):
        yield str(len(value))
        verdicts = Counter(str(inner.get("verdict")) for inner in _adjusted(value))
        yield from map(str, verdicts.values())
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _printed(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        size = abs(value)
        yield from (f"{100 * size:.1f}", f"{100 * size:.2f}", f"{100 * size:g}", f"{size:.3f}", f"{size:g}")
        yield from (f"{size:,.0f}", f"{size:,.1f}", f"{100 - 100 * size:g}", str(value))


def _adjusted(value: Any) -> list[dict[str, Any]]:
    return [value] if isinstance(value, dict) and "verdict" in value else []


def _allowed(reports: Path) -> set[str]:
    stats = json.loads((reports.parent / "results/aggregate/stats.json").read_text())
    families = [
        [
            record | record["adjusted"]
            for record in map((stats["comparisons"] | stats["controls"] | stats["unseen"]).get, family["members"])
        ]
        for family in stats["families"].values()
    ]
    counts: set[str] = set()
    for members in families:
        for chosen in (members, [m for m in members if m.get("a") == "wire"]):
            counts |= {str(len(chosen)), *(str(c) for c in Counter(m["verdict"] for m in chosen).values())}
    weights = [source for source in stats["sources"].values() if source["checkpoint"]]
    return {*_printed(stats), *counts, str(len(weights)), *SAID}


def _numbers(text: str) -> set[str]:
    plain = re.sub(r"(?:Tables?|Figure) \d+(?: and \d+)?|ci:\S+", "", text)
    for name in synthetic_predictions.NAMES.values():
        plain = plain.replace(name, "")
    return set(NUMBER.findall(plain))


@pytest.mark.long
@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_every_number_that_is_printed_is_one_of_the_statistics(reports: Path, name: str) -> None:
    text = (reports / name).read_text()
    if name.endswith("html"):
        text = Page(re.sub('<span class="quote">[^<]*</span>', "", text)).text
    text = re.sub("“[^”]*”", "", text)
    text = re.sub(
        r"`[^`]*`|^#+ [A-Z\d]+ .*$|(?<=\s)\d (?=In short|What|Where it|Limitations|How the)", "", text, flags=re.M
    )
    numbers = _numbers(text.replace("\\", ""))
    assert len(numbers) > 200
    assert numbers - _allowed(reports) == set()


def test_a_number_that_is_none_of_them_would_be_found(reports: Path) -> None:
    assert _numbers("accuracy 74.6 \u202f% or 83.17 %") - _allowed(reports) == {"83.17"}


def test_the_page_is_whole_and_fetches_nothing(reports: Path) -> None:
    text = (reports / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert not re.search(r"<script|<link|@import|url\((?!#)", text)
    assert text.count("<svg") == len(list((reports / "figures").glob("*.svg"))) == 7
    assert "A wire &amp; &lt;all&gt; of its readers" in text


def _document(reports: Path) -> Document:
    aggregate = reports.parent / "results/aggregate"
    data = read_report_data(aggregate, synthetic_predictions.NAMES)
    origin = {name: sha256_of(aggregate / name) for name in ("stats.json", "curves.csv")}
    return build_paper(data, TITLE, build_tables(data, CLEAN), CLEAN, origin)


@pytest.mark.long
def test_the_three_have_the_same_blocks(reports: Path) -> None:
    document = _document(reports)
    tables = {path.stem for path in (reports / "tables").iterdir()}
    kinds = Counter(type(block) for block in document.blocks)
    assert kinds[Figure] == 5
    assert kinds[FigureRow] == 1
    assert kinds[Table] == len(tables) + 3
    assert {table.name for table in document.tables} == tables
    shown = Page(re.sub("</?code[^>]*>|<a [^>]*>[^<]*</a>", "", (reports / "report.html").read_text())).text
    for text in (text for block in document.blocks for text in iterate_texts(block)):
        assert re.sub(r"\s", "", plain_text(text)) in re.sub(r"\s", "", shown)
    drawings = {path.stem: path.read_text() for path in (reports / "figures").glob("*.svg")}
    assert render_html(document, drawings) == (reports / "report.html").read_text()
    assert render_markdown(document) == (reports / "report.md").read_text()
    assert render_latex(document) == (reports / "paper.tex").read_text()


def test_a_reference_leads_to_its_table_or_figure(reports: Path) -> None:
    """LaTeX counts tables and figures itself; the page and the Markdown print the same numbers."""
    document = _document(reports)
    latex, html = (reports / "paper.tex").read_text(), (reports / "report.html").read_text()
    inputs = re.findall(r"\\input\{tables/(\w+)\.tex\}|\\label\{(fig:\w+)\}", latex)
    assert [name for name, _ in inputs if name] == [table.name for table in document.tables]
    assert [label for _, label in inputs if label] == [figure.label for figure in document.figures]
    number = document.numbers["tab:versus_chance"]
    assert "Table~\\ref{tab:versus_chance} has the differences" in latex
    assert f'Table\u00a0<a href="#tab:versus_chance">{number}</a> has the differences' in html
    assert re.search(
        rf'id="tab:versus_chance">\n<table>\n<caption><div><strong>Table {number}:</strong> Every method', html
    )
    assert f"Table\u00a0{number} has the differences" in (reports / "report.md").read_text()
    assert 'the training (Figure\u00a0<a href="#learning_curves">4</a>)' in html


def test_signs_and_alignment_are_those_of_the_paper(reports: Path) -> None:
    """siunitx prints a plus where a difference is positive, and intervals stand in the middle."""
    html = (reports / "report.html").read_text()
    assert "print-implicit-plus" in (reports / "tables/r8.tex").read_text()
    record = json.loads((reports.parent / "results/aggregate/stats.json").read_text())["comparisons"]
    value = 100 * record["r8/gemma3/probe-vs-text/accuracy"]["value"]
    assert value > 0
    assert f'<td class="n">+{value:.1f}</td><td class="c">[' in html
    assert f"| +{value:.1f} |" in (reports / "report.md").read_text()
    assert "| :-: |" in (reports / "report.md").read_text()


def test_numbers_stand_to_the_right(reports: Path) -> None:
    assert re.search(r'<tr><td>Wire</td><td class="n">3</td><td class="n">', (reports / "report.html").read_text())
    assert "| Method | Seeds | " in (text := (reports / "report.md").read_text())
    assert "\n| --- | --: | --: | --: |" in text


def test_tables_of_the_markdown_have_even_rows(reports: Path) -> None:
    lines = [line for line in (reports / "report.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) > 100
    groups = re.findall(r"(?:^\|.*\n)+", (reports / "report.md").read_text(), flags=re.M)
    for group in groups:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in group.splitlines()}) == 1


@pytest.mark.long
@pytest.mark.usefixtures("drawn_before")
@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        (None, "the revision of the code is not known"),
        (Revision("f" * 40, dirty=True), "the code differs from its revision"),
    ],
)
def test_a_report_of_unknown_code_is_a_draft_in_all_three(
    aggregated: Path, tmp_path: Path, revision: Revision | None, reason: str
) -> None:
    reports = _build(aggregated, tmp_path, revision)
    for name, mark in (
        ("paper.tex", r"\textbf{DRAFT}: "),
        ("report.md", "**DRAFT**: "),
        ("report.html", "DRAFT</strong>: "),
    ):
        assert mark + reason in (reports / name).read_text()
    assert r"\markright{DRAFT}" in (reports / "paper.tex").read_text()
    assert '<body class="draft">' in (reports / "report.html").read_text()
    assert json.loads((reports / "provenance.json").read_text())["draft"] == [reason]
    assert recorded_revision(reports) == revision


def test_a_report_of_a_clean_commit_is_none_and_names_it(reports: Path) -> None:
    for name in ("paper.tex", "report.md", "report.html"):
        text = (reports / name).read_text()
        assert "DRAFT" not in text.replace('content: "DRAFT"', "")
        assert "0123456789ab" in text
        assert "Made from: code" in text
    assert recorded_revision(reports) == CLEAN


@pytest.mark.usefixtures("drawn_before")
def test_a_missing_digest_makes_a_draft(aggregated: Path, tmp_path: Path) -> None:
    shutil.copytree(aggregated / "results/aggregate", tmp_path / "results/aggregate")
    path = tmp_path / "results/aggregate/stats.json"
    stats = json.loads(path.read_text())
    stats["sources"]["results/evaluate/wire-r8-1/predictions.parquet"]["checkpoint"] = None
    path.write_text(json.dumps(stats))
    build_report(tmp_path, TITLE, synthetic_predictions.NAMES, CLEAN)
    assert "wire-r8-1/predictions.parquet names no checkpoint" in (tmp_path / "reports/report.html").read_text()
