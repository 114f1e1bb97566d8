"""Text of any kind through all three faces: each prints what was meant, and nothing of it is taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from latentwire.reporting.document import (
    Code,
    Column,
    Document,
    Emphasis,
    Figure,
    Heading,
    ItemList,
    Math,
    NoteMark,
    Paragraph,
    RowGroup,
    Strong,
    Table,
    TableRow,
    Text,
    Variable,
)
from latentwire.reporting.escaping import fence_code
from latentwire.reporting.render import render_html, render_latex, render_markdown, render_table
from latentwire.reporting.report_data import ReportData
from tests.unit.reporting.printing import print_html, print_latex, print_markdown

SPECIAL = {
    "&": (r"\&", "&amp;", "&"),
    "%": (r"\%", "%", "%"),
    "_": (r"\_", "_", r"\_"),
    "<": (r"\textless{}", "&lt;", r"\<"),
    ">": (r"\textgreater{}", "&gt;", r"\>"),
    "#": (r"\#", "#", r"\#"),
    "$": (r"\$", "$", r"\$"),
    "{": (r"\{", "{", "{"),
    "}": (r"\}", "}", "}"),
    "\\": (r"\textbackslash{}", "\\", r"\\"),
    "~": (r"\textasciitilde{}", "~", r"\~"),
    "^": (r"\textasciicircum{}", "^", "^"),
    "|": (r"\textbar{}", "|", r"\|"),
    "`": (r"\textasciigrave{}", "`", r"\`"),
    "*": ("*", "*", r"\*"),
    "[": ("[", "[", r"\["),
    '"': ('"', "&#34;", '"'),
    "−": ("$-$", "−", "−"),
    "–": ("--", "–", "–"),
    "é": ("é", "é", "é"),
    "\u00a0": ("~", "\u00a0", "\u00a0"),
    "\u202f": (r"\,", "\u202f", "\u202f"),
}
"""Character → how LaTeX, HTML and Markdown print it within a word."""
HOSTILE = (
    '<script>alert("x")</script></td></table><!-- & &lt; &#60; --> {{ 7 * 7 }} {% raw %} << 7 * 7 >> <% endfor %> '
    r"\input{/etc/passwd} \end{document} \\ \\[1em] 100% $x^2_i$ ~^ \| |a|b| `code` ``more`` ***bold*** __init__ "
    "[link](javascript:alert) ![x](y) # heading \u2013 naïve 模型 🙂"
)


class _Words(HTMLParser):
    """The words of a page and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.tags = "", set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.words += data


def _unescape_markdown(text: str) -> str:
    return re.sub(r"\\([\\`*_|<>\[\]#~$&])", r"\1", text)


@pytest.mark.parametrize("letter", SPECIAL)
def test_a_special_character_of_a_name_comes_out_right_in_all_three(letter: str) -> None:
    data = ReportData({"methods": {}}, None, {"model": f"a{letter}b"})  # type: ignore[arg-type]
    name = data.display_name("model")
    for printer, expected in zip((print_latex, print_html, print_markdown), SPECIAL[letter], strict=True):
        for text in ((name,), (Emphasis((name,)),), (Strong((name,)),)):
            assert f"a{expected}b" in printer(text)
    assert f"a{SPECIAL[letter][0]}b" in print_latex((Code(name),))


@pytest.mark.parametrize(
    ("text", "latex", "html", "markdown"),
    [
        (
            ("A & B, 95\u202f% of ", Math(("α = 0.05",))),
            r"A \& B, 95\,\% of $\alpha = 0.05$",
            "A &amp; B, 95\u202f% of α = 0.05",
            "A & B, 95\u202f% of α = 0.05",
        ),
        ((Strong(("79.0",)),), r"\textbf{79.0}", "<strong>79.0</strong>", "**79.0**"),
        (("[−19.0, +10.4]",), "[$-$19.0, +10.4]", "[−19.0, +10.4]", r"\[−19.0, +10.4\]"),
        (("–",), "--", "–", "–"),
        (("Wire", NoteMark("†")), r"Wire\tnote{\dag{}}", "Wire†", "Wire†"),
        (
            (Math((Variable("p", "Holm"), " < 0.001")),),
            r"$p_{\mathrm{Holm}} < 0.001$",
            "<em>p</em><sub>Holm</sub> &lt; 0.001",
            r"*p* Holm \< 0.001",
        ),
        (
            (Code("wire-r8_0"), " ", Emphasis(("and",)), " a{b} \\ ~"),
            r"\texttt{wire-r8\_0} \emph{and} a\{b\} \textbackslash{} \textasciitilde{}",
            r"<code>wire-r8_0</code> <em>and</em> a{b} \ ~",
            r"`wire-r8_0` *and* a{b} \\ \~",
        ),
        (
            (Emphasis(("a ", Strong(("b",)), " c")), " d"),
            r"\emph{a \textbf{b} c} d",
            "<em>a <strong>b</strong> c</em> d",
            "*a **b** c* d",
        ),
        (
            (Math(("A − 95\u202f% · B",)), " ±5.0 Δ"),
            r"$A - 95\,\% \cdot B$ $\pm$5.0 $\Delta$",
            "A − 95\u202f% · B ±5.0 Δ",
            "A − 95\u202f% · B ±5.0 Δ",
        ),
    ],
)
def test_words(text: Text, latex: str, html: str, markdown: str) -> None:
    assert print_latex(text) == latex
    assert print_html(text) == html
    assert print_markdown(text) == markdown


def _hostile_table() -> Table:
    columns = (Column((HOSTILE,)), Column((Emphasis((HOSTILE,)),), align="right", digits=(2, 1)))
    row = TableRow(((HOSTILE, NoteMark("†")), (Strong((HOSTILE,)),)), ("r8/gemma3/wire/accuracy",))
    group = RowGroup((HOSTILE,), (row, TableRow(((Code(HOSTILE),), ("−1.5",)))))
    return Table(columns, (group,), "hostile", (HOSTILE,), ((HOSTILE,),), (HOSTILE,))


def _hostile_document() -> Document:
    text: Text = (HOSTILE,)
    blocks = (
        *(Paragraph(text, "abstract"), Heading(2, text), Paragraph(text), Heading(3, text), Paragraph(text, "lead")),
        *(ItemList((text, (Strong(text),))), _hostile_table(), Figure("pareto", "fig:pareto", text)),
        Paragraph((Code(HOSTILE), " ", Emphasis(text), " ", HOSTILE), "footer"),
    )
    return Document(HOSTILE, blocks, (HOSTILE,))


def test_hostile_text_is_only_text_in_html() -> None:
    page = render_html(_hostile_document(), {"pareto": "<svg></svg>"})
    shown = _Words(page)
    assert "script" not in shown.tags
    assert page.count("<table>") == page.count("</table>") == page.count("</html>") == 1
    assert "<!--" not in page
    assert shown.words.count(HOSTILE) == 23


def test_hostile_text_is_only_text_in_latex() -> None:
    body = render_latex(_hostile_document()).split(r"\begin{document}")[1]
    table = render_table(_hostile_table())
    for latex in (body, table):
        assert r"\input{/etc" not in latex
        assert r"\textbackslash{}input\{/etc/passwd\}" in latex
        assert r"100\% \$x\textasciicircum{}2\_i\$" in latex
        assert not re.search(r"(?<!\\)[#^~|`]", re.sub(r"%.*", "", latex.replace(r"\%", "")))
    assert body.count(r"\end{document}") == 1
    assert table.count(r"\end{table}") == 1
    assert re.search(r"\\\\ % r8/gemma3/wire/accuracy$", table, flags=re.M)


def test_hostile_text_is_only_text_in_markdown() -> None:
    text = render_markdown(_hostile_document())
    prose = re.sub(r"(?<!`)(`{3,}) .*? \1(?!`)", "", text)
    assert len(prose) < len(text)
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[link|(?<!\\)!\[x", prose)
    assert not re.search(r"&(?:lt|#60);", prose.replace(r"\&", ""))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", row))) for row in rows} == {3}
    assert f"## 1 {HOSTILE}" in _unescape_markdown(text)
    assert f"``` {HOSTILE} ```" in text


@pytest.mark.parametrize("text", ["- a", "+ a", "1. a", "12) a", "---", "===", "# a", "> a", "* a", "    a"])
def test_a_paragraph_of_markdown_is_no_list_heading_or_code(text: str) -> None:
    printed = print_markdown(text)
    assert not re.match(r"[-+*>#=] |---|===|\d+[.)] |    ", printed)
    assert re.sub(r"\\", "", printed).strip() == text.strip()


def test_a_line_break_in_a_name_ends_no_paragraph_and_no_row() -> None:
    assert print_latex("a \n\n b") == "a\nb"
    assert print_markdown("a \n\n b") == "a b"
    assert "\n" not in print_markdown((Code("a\nb"),))


def test_code_of_markdown_is_fenced_by_more_backticks_than_it_has() -> None:
    assert print_markdown((Code("a|b"),)) == "`a|b`"
    assert fence_code("a|b<", in_table=True) == r"<code>a\|b\<</code>"
    assert print_markdown((Code("a `b` ``c``"),)) == "``` a `b` ``c`` ```"
