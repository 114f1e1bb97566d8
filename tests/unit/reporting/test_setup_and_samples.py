"""The report says what was done, shows where methods part, and what it cannot show: all from stored facts."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from latentwire.params.sections import Losses
from latentwire.reporting.document import Document, Quote, Table, iterate_texts, plain_text
from latentwire.reporting.escaping import quote_latex
from latentwire.reporting.latex import compile_paper
from latentwire.reporting.limitations import list_limitations
from latentwire.reporting.method_figure import draw_method
from latentwire.reporting.paper import build_paper
from latentwire.reporting.render import render_html, render_latex, render_markdown, render_table
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.setup_tables import LONGEST_PROMPT, LOSSES, MOST_WORDS
from latentwire.reporting.tables import build_tables
from tests.support.synthetic_predictions import NAMES

HOSTILE = r"$5 & 100% of_it \input{x} <b> ^~ {a} #1 nan None | `x` [y] " + "模型是一个" * 4 + " é " + "w" * 90
needs_tex = pytest.mark.skipif(
    None in (shutil.which("latexmk"), shutil.which("pdftotext")), reason="latexmk or pdftotext is not installed"
)


@pytest.fixture
def data(aggregated: Path) -> ReportData:
    """Statistics that a test may change."""
    found = read_report_data(aggregated / "results/aggregate", NAMES)
    return ReportData(copy.deepcopy(found.stats), found.curves, found.names)


def _table(data: ReportData, name: str) -> Table:
    return next(table for table in build_tables(data) if table.name == name)


def _rows(data: ReportData, name: str) -> dict[str, str]:
    """First cell → the words of the others."""
    rows = [row.cells for group in _table(data, name).groups for row in group.rows]
    return {plain_text(first): " ".join(map(plain_text, others)) for first, *others in rows}


def _limitations(data: ReportData) -> dict[str, str]:
    return {subject: plain_text(text) for subject, text in list_limitations(data)}


def test_the_set_up_says_what_was_set(data: ReportData) -> None:
    rows = _rows(data, "setup")
    assert (
        "MiniLM (family minilm, 123,456 parameters, hidden width 384); hidden state after the last layer of the first "
        "64"
    ) in rows["Sender"]
    assert rows["Receivers"] == (
        "SmolLM2-135M (family smollm, 123,456 parameters, hidden width 576); "
        "Gemma-3-270M (family gemma, 123,456 parameters, hidden width 577)"
    )
    assert rows["Wire"] == "M = 8 vectors of d = 192 numbers: 3,072 bytes for a text"
    assert "2 blocks" in rows["Encoder (trained)"]
    assert rows["Encoder (trained)"].endswith(f"{8 * 192 + 192 * 384:,} parameters")
    assert f"{576 * 192 + 1:,} for SmolLM2-135M and {577 * 192 + 1:,} for Gemma-3" in rows["Adapters (trained)"]
    assert "60 steps of 16 examples; learning rate up to 0.002 over 1 step, then a cosine to 0" in rows["Optimizer"]
    assert rows["Loss"] == "cross-entropy of the answer's tokens (weight 1), a mean over receivers"
    assert (
        "Wire, Text + logistic layer, Linear probe, Probe on Wire: 960; Text (few-shot): 8; Majority class: 600"
        in (rows["Labelled examples"])
    )
    assert rows["Seeds"] == "Wire: 0, 1, 2"
    assert "600 train, 0 validation and 600 test texts; 8 classes" in rows["Reuters R8"]
    assert "“acquisition” (acq), “oil” (crude)" in rows["Reuters R8"]
    assert "judged by accuracy; answers: “negative” (0), “positive” (1)" in rows["Rotten Tomatoes"]
    assert "portable kernels" in rows["Numerics"]


def test_the_set_up_follows_the_statistics(data: ReportData) -> None:
    data.stats["setup"]["training"] |= {"lr": 0.0307, "steps": 1234}
    data.stats["setup"]["training"]["losses"] |= {"label_ce": 0.25}
    data.stats["setup"]["sender"]["layer"] = 5
    rows = _rows(data, "setup")
    assert "1,234 steps of 16 examples; learning rate up to 0.0307" in rows["Optimizer"]
    assert "(weight 1) and cross-entropy over the labels (weight 0.25)" in rows["Loss"]
    assert "hidden state number 5 of" in rows["Sender"]


def test_the_draws_are_said_where_they_are_balanced(data: ReportData) -> None:
    data.stats["setup"]["training"]["balance"] = 0.25
    assert _rows(data, "setup")["Draws"].startswith("25\u202f% of them shared equally by the labels")
    data.stats["setup"]["training"]["balance"] = 0.0
    assert "Draws" not in _rows(data, "setup")


def test_every_loss_has_words() -> None:
    assert set(LOSSES) == set(Losses.model_fields)


def test_of_many_labels_the_first_are_named(data: ReportData) -> None:
    data.stats["setup"]["tasks"]["r8"]["labels"] |= {f"{n:02d}": f" word{n:02d}" for n in range(32)}
    labels = data.stats["setup"]["tasks"]["r8"]["labels"]
    words = _rows(data, "setup")["Reuters R8"]
    assert f"“word{MOST_WORDS - 9:02d}” ({MOST_WORDS - 9:02d}) and {len(labels) - MOST_WORDS} more" in words
    assert f"word{MOST_WORDS - 8:02d}" not in words


def test_prompts_are_printed_as_receivers_read_them(data: ReportData) -> None:
    rows = _rows(data, "prompts")
    assert rows["Gemma-3-270M"] == r"<bos>News: wire \nTopic: acquisition <bos>News: a\nTopic: acquisition"
    assert rows["SmolLM2-135M"].startswith("News: wire ")
    data.stats["setup"]["tasks"]["r8"]["prompts"]["gemma3"]["text"] = "a" * 500 + "\nTopic:" + "z" * 500
    long = _rows(data, "prompts")["Gemma-3-270M"]
    assert "a" * (LONGEST_PROMPT // 2) + " … " + "z" * (LONGEST_PROMPT // 2) in long
    assert "a" * (LONGEST_PROMPT // 2 + 1) not in long


def test_disagreements_count_every_text_once(data: ReportData) -> None:
    table = _table(data, "disagreements")
    rows = [row for group in table.groups for row in group.rows]
    assert len(rows) == 4
    for row in rows:
        assert sum(int(plain_text(cell).replace(",", "")) for cell in row.cells[2:]) == 600
        assert row.ids[0] in data.stats["disagreements"]


def test_samples_are_those_of_the_statistics_and_right_answers_are_bold(data: ReportData) -> None:
    rows = [row for group in _table(data, "samples").groups for row in group.rows]
    records = data.stats["disagreements"]
    kept = [kind for record in records.values() for kind, sample in record["samples"].items() if sample]
    assert len(rows) == len(kept) > 2
    for row in rows:
        record = records[row.ids[0]]
        method_is_right = not isinstance(row.cells[3][0], Quote)
        assert method_is_right is isinstance(row.cells[4][0], Quote)
        sample = record["samples"]["only_method" if method_is_right else "only_reference"]
        words = data.stats["setup"]["tasks"][record["task"]]["labels"]
        assert plain_text(row.cells[1]) == f"“{sample['text']}”"
        printed = [words[sample[name]].strip() for name in ("gold", "method", "reference")]
        assert [plain_text(cell) for cell in row.cells[2:]] == printed


def test_limitations_name_the_numbers_of_these_data(data: ReportData) -> None:
    next(iter(data.stats["controls"].values()))["S"] = 1
    said = _limitations(data)
    assert "2 tasks of classification and 2 receivers" in said["Scope."]
    share = data.stats["setup"]["tasks"]["r8"]["share_read"]
    assert f"{100 * share:.1f}\u202f% of Reuters R8" in said["Cut texts."]
    longer = "282 for MiniLM, 270 for SmolLM2-135M and 210 for Gemma-3-270M are longer."
    assert f"Of the 600 test texts of Reuters R8, {longer}" in said["Cut texts."]
    assert "vectors would cut nothing: receivers read at most 312 bytes." in said["Bytes."]
    assert said["Supervision."].endswith("Prompt tuning and adapters within the receivers are not among the baselines.")
    assert "Wire has 3 seeds per task" in said["Seeds."]
    assert "Wire compresses nothing on Rotten Tomatoes and Reuters R8" in said["Bytes."]
    sizes = [record["mde"] for record in data.get_excesses("controls") if record["mde"]]
    assert f"fewer points than {100 * min(sizes):.1f} to {100 * max(sizes):.1f}" in said["Controls."]
    assert " was trained once per task, which no test can tell from luck." in said["Controls."]
    assert re.search(r"Probe on Wire scores more than the receivers in [1-4] of 4 cases", said["Reading."])


def test_limitations_that_do_not_hold_are_not_said(data: ReportData) -> None:
    for cell in data.stats["cells"].values():
        cell["bytes_per_example"] = 10.0 if cell["method"] == "wire" else 500.0
        if cell["method"] == "wire-probe":
            cell["value"] = 0.0
    for record in data.stats["controls"].values():
        record["S"], record["adjusted"]["mde"] = 3, None
    for task in data.stats["setup"]["tasks"].values():
        task["cut"] = {"sender": {"minilm": 0}, "receivers": {"smollm2": 0, "gemma3": 0}}
    data.stats["setup"]["baselines"]["shots"] = None
    said = _limitations(data)
    assert {"Bytes.", "Controls.", "Reading."} & set(said) == set()
    assert "are longer" not in said["Cut texts."]
    assert "prompts with examples in them are not" in said["Supervision."]


def test_small_classes_are_a_limitation_where_each_weighs_the_same(data: ReportData) -> None:
    data.stats["tasks"]["r8"]["counts"]["grain"] = 2
    assert "classes of Reuters R8 have fewer" not in _limitations(data)["Scope."]
    data.stats["settings"]["metrics"]["r8"] = "macro_f1"
    text = "".join(plain_text(text) for _, text in _scope_alone(data))
    assert "1 of the 8 classes of Reuters R8 have fewer than 10 test texts (the smallest 2)" in text


def _scope_alone(data: ReportData) -> list[Any]:
    limitations = list_limitations(data)
    return [next(limitations)]


def test_the_method_figure_names_models_shapes_and_what_is_trained(data: ReportData, tmp_path: Path) -> None:
    draw_method(data, tmp_path)
    drawing = (tmp_path / "method.svg").read_text(encoding="utf-8")
    for words in ("MiniLM", "8 × 192 numbers", "3,072 bytes", "SmolLM2-135M", "Gemma-3-270M", "trained", "frozen"):
        assert words.split(" ")[0] in drawing
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["method.pdf", "method.png", "method.svg"]
    draw_method(data, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _hostile(data: ReportData) -> Document:
    for record in data.stats["disagreements"].values():
        for sample in filter(None, record["samples"].values()):
            sample["text"] = HOSTILE
    for task in data.stats["setup"]["tasks"].values():
        task["labels"] = {label: f" {label}$_%None模" for label in task["labels"]}
        task["prompts"] = {m: dict.fromkeys(("text", "wire"), f"<s>{HOSTILE}\n⟨wire⟩ x") for m in task["prompts"]}
    return build_paper(data, "Title", build_tables(data))


def test_texts_of_any_kind_are_printed_as_text(data: ReportData) -> None:
    document = _hostile(data)
    page = render_html(document, dict.fromkeys([figure.name for figure in document.figures], "<svg></svg>"))
    assert "<b>" not in page.split("</style>")[1]
    assert "模型是一个" in page
    assert "模型是一个" in render_markdown(document)
    latex = "".join(render_table(table, document.given_words) for table in document.tables) + render_latex(document)
    assert r"\input{x}" not in latex
    assert "[U+6A21 and 19 more]" in latex
    assert "模" not in latex


def test_long_words_of_the_data_may_be_broken() -> None:
    assert quote_latex("a" * 25) == "a" * 10 + r"\penalty500{}" + "a" * 10 + r"\penalty500{}" + "a" * 5
    assert quote_latex("short words 模 型 and 模") == "short words [U+6A21 and 1 more] and [U+6A21]"


@needs_tex
@pytest.mark.long
def test_the_pdf_prints_set_up_prompts_samples_and_limitations(data: ReportData, tmp_path: Path) -> None:
    for hostile in (False, True):
        document = _hostile(data) if hostile else build_paper(data, "Title", build_tables(data))
        shown = _compile(document, tmp_path / str(hostile))
        for words in (
            "What was done",
            "Limitations",
            "A frozen sender, MiniLM",
            "compresses nothing",
            "AdamW, 60 steps",
        ):
            assert re.sub(r"\s", "", words) in shown
        expected = "[U+6A21and19more]" if hostile else r"<bos>News:wire\nTopic:acquisition"
        assert expected in shown


def _compile(document: Document, folder: Path) -> str:
    """All words of the paper without its figures."""
    (folder / "tables").mkdir(parents=True)
    for table in document.tables:
        (folder / f"tables/{table.name}.tex").write_text(render_table(table, document.given_words), encoding="utf-8")
    latex = re.sub(r"\\includegraphics\{.*\}", "", render_latex(document))
    (folder / "paper.tex").write_text(latex, encoding="utf-8")
    paper = compile_paper(folder / "paper.tex")
    shown = subprocess.run(["pdftotext", str(paper), "-"], capture_output=True, text=True, check=True).stdout
    return re.sub(r"\s", "", shown)


def test_every_text_of_the_body_is_in_a_paragraph_or_a_table(data: ReportData) -> None:
    """No list is left whose points could stand alone at the top of a page."""
    document = build_paper(data, "Title", build_tables(data))
    assert r"\begin{itemize}" not in render_latex(document)
    assert all(plain_text(text).strip() or not text for block in document.blocks for text in iterate_texts(block))


KINDS = {
    "prompt_tuning": ({"length": 3}, "3 vectors between primer and text", "trains vectors before the text that"),
    "lora": (
        {"rank": 2, "alpha": 4.0, "targets": ["q_proj"]},
        "rank 2 of the layers q_proj",
        "trains low-rank updates",
    ),
    "own": ({"size": 9}, "kind own, size 9", "is trained for"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_method_that_is_no_wire_is_said_in_its_own_words(kind: str, data: ReportData) -> None:
    settings, trained, introduced = KINDS[kind]
    known = {"kind": kind, "receivers": ["smollm2", "gemma3"], "trained": {"smollm2": 1234, "gemma3": 5}}
    data.stats["setup"]["methods"]["wire"] = {**known, **settings}
    rows = _rows(data, "setup")
    assert trained in rows["Trained"]
    assert "1,234 for SmolLM2" in rows["Parameters"]
    assert not {"Wire", "Encoder (trained)", "Adapters (trained)"} & rows.keys()
    printed = render_markdown(build_paper(data, "Title", build_tables(data)))
    assert introduced in printed
    assert "turns the features" not in printed
    assert "the way of a text to the answers" not in printed
    assert "Unseen words: messages that are asked" in printed
    assert ("Prompt tuning" in _limitations(data)["Supervision."]) == (kind != "prompt_tuning")
