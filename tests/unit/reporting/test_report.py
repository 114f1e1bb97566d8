"""From statistics to `reports/`: what is printed, what is said, and that it is the same bytes every time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from latentwire.digests import sha256_of
from latentwire.errors import EvidenceError
from latentwire.reporting import claims
from latentwire.reporting.build import build_report
from latentwire.reporting.escaping import align_number, escape_latex
from latentwire.reporting.number_format import format_interval, format_points
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.statistics.write import signed_entries
from tests.support import synthetic_predictions
from tests.unit.reporting.printing import PrintedTable, print_paper, print_tables

TITLE = "A wire & 100% of its readers"
FAMILIES = ("versus_chance", "versus_baselines", "ablations")
CONTROLS = "controls"
UNSEEN = "unseen"
DONE = ("setup", "prompts", "disagreements", "samples")
APPENDIX = ("recall_rotten_tomatoes", "recall_r8", "costs", "statistics", "calibration", "checklist")
ROW = re.compile(r"^(?P<cells>.+) \\\\ % (?P<ids>\S+(?:, \S+)*)$", flags=re.M)


@pytest.fixture(scope="module")
def data(aggregated: Path) -> ReportData:
    return read_report_data(aggregated / "results/aggregate", synthetic_predictions.NAMES)


@pytest.fixture(scope="module")
def reports(
    aggregated: Path,
    copying: Callable[[], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    root = tmp_path_factory.mktemp("reports")
    shutil.copytree(aggregated / "results/aggregate", root / "results/aggregate")
    with copying():
        build_report(root, TITLE, synthetic_predictions.NAMES)
    return root / "reports"


def _interval(low: float, high: float, sign: bool = False) -> str:
    """An interval as LaTeX."""
    return escape_latex(format_interval(low, high, sign=sign))


def _aligned(share: float) -> str:
    """A share in a column of numbers."""
    return align_number((format_points(share),))


def _main(data: ReportData) -> list[PrintedTable]:
    """The tables of accuracies and of differences on one task."""
    return [
        table
        for table in print_tables(data)
        if table.name.removesuffix(".tex") not in ("main", CONTROLS, UNSEEN, *DONE, *APPENDIX)
    ]


def _changed(data: ReportData, change: Callable[[dict[str, Any]], None]) -> ReportData:
    stats = json.loads(json.dumps(data.stats))
    change(stats)
    return ReportData(stats, data.curves, data.names)


def test_every_file_is_there(reports: Path) -> None:
    files = {path.relative_to(reports).as_posix() for path in reports.rglob("*") if path.is_file()}
    drawn = ("method", "accuracy", "differences", "learning_curves", "pareto", "calibration", "variance_shares")
    figures = {f"figures/{name}.{kind}" for name in drawn for kind in ("pdf", "png", "svg")}
    tables = {
        f"tables/{table}.tex"
        for table in ("main", "rotten_tomatoes", "r8", *FAMILIES, CONTROLS, UNSEEN, *DONE, *APPENDIX)
    }
    assert files == figures | tables | {"paper.tex", "report.html", "report.md", "provenance.json"}


def test_every_row_prints_the_numbers_of_its_ids(data: ReportData) -> None:
    """Accuracy, difference and interval of each row, formatted anew from the ids that stand at its end."""
    rows = [row for table in _main(data) for row in ROW.finditer(table.text)]
    assert len(rows) == 36 + 28 + 22 + 14
    for row in rows:
        for key in row["ids"].split(", "):
            record = data.stats["cells"].get(key) or data.stats["comparisons"][key]
            assert re.search(rf"(?<![\d.]){_aligned(record['value'])} ", row["cells"] + " "), (key, row["cells"])
            if record["metric"] == "accuracy":
                assert _interval(record["low"], record["high"], sign="-vs-" in key) in row["cells"]


def test_the_ids_of_a_table_are_those_of_its_rows(data: ReportData) -> None:
    for table in print_tables(data)[:3]:
        printed = {key for row in ROW.finditer(table.text) for key in row["ids"].split(", ")}
        assert printed == set(table.ids)


def test_the_main_table_prints_the_means_and_what_they_are_means_of(data: ReportData) -> None:
    table = print_tables(data)[0]
    rows = list(ROW.finditer(table.text))
    assert len(rows) == 22
    for row in rows:
        mean, *others = row["ids"].split(", ")
        average, cells = data.get_average(mean), [data.get_cell(key)["value"] for key in others if "-vs-" not in key]
        assert average["value"] == pytest.approx(sum(cells) / 2, abs=1e-9)
        assert _interval(average["low"], average["high"]) in row["cells"]
        for value in (average["value"], *cells):
            assert re.search(rf"(?<![\d.]){_aligned(value)} ", row["cells"] + " "), row["cells"]
        for key in (key for key in others if "-vs-" in key):
            assert (
                _interval(data.get_comparison(key)["low"], data.get_comparison(key)["high"], sign=True) in row["cells"]
            )
    assert "corrected over the 16 differences of this table" in table.text
    assert r"ci:twoway-average\textbar{}" in table.text


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        (
            {"mode": "throughput"},
            "not exactly reproducible over GPU counts",
        ),
        ({"numerics": "native"}, "other kinds give other bits"),
        ({"numerics_changed": [17, 40]}, "Numerics changed while training (wire-r8-1 at step 17 and 40)"),
    ],
)
def test_a_run_that_was_not_exact_is_labelled_where_its_numbers_stand(
    data: ReportData, fact: dict[str, Any], sentence: str
) -> None:
    changed = _changed(data, lambda stats: stats["runs"]["r8/wire/1/training"].update(fact))
    labelled = {table.name for table in print_tables(changed) if sentence in table.text.replace("\n", " ")}
    assert labelled == {"main.tex", "r8.tex", *(f"{family}.tex" for family in FAMILIES), "checklist.tex"}
    assert sentence in print_paper(changed, TITLE)
    assert not [table.name for table in print_tables(data) if sentence in table.text]
    exact = print_tables(data)[-1].text.replace("\n", " ")
    assert "any x86-64 processor with AVX2 and the same software: all 6 runs are in exact mode" in exact


def test_the_runs_say_how_far_their_slots_differ(data: ReportData) -> None:
    printed = print_paper(data, TITLE)
    assert "Slot cosine & Effective rank" in printed
    assert printed.count("& 0.370 & 6.0 &") == len(data.stats["runs"])
    assert "Slot cosine: between two vectors of a wire" in printed
    without = _changed(data, lambda stats: [run.update(slots={}) for run in stats["runs"].values()])
    assert print_paper(without, TITLE).count("& -- & -- &") == len(data.stats["runs"])
    assert "between two vectors of a wire" not in print_paper(without, TITLE)


def test_two_tables_of_one_name_are_refused(data: ReportData) -> None:
    with pytest.raises(EvidenceError, match=r"Two tables would be written to reports/tables/main.tex"):
        print_tables(ReportData(json.loads(json.dumps(data.stats).replace('"r8', '"main')), data.curves, data.names))


def test_a_dagger_stands_where_the_reference_is_kept_up_with_but_not_beaten(data: ReportData) -> None:
    key = "r8/gemma3/probe-vs-text/accuracy"

    def outcome(verdict: str, kept: str) -> bool:
        def change(stats: dict[str, Any]) -> None:
            stats["comparisons"][key]["adjusted"]["verdict"] = verdict
            stats["comparisons"][key]["retention"]["outcome"] = kept

        rows = ROW.finditer(print_tables(_changed(data, change))[2].text)
        return next(r"\dag" in row["cells"] for row in rows if key in row["ids"].split(", "))

    assert outcome("not different", "non-inferior")
    assert not outcome("better", "non-inferior")
    assert not outcome("not different", "inconclusive")
    assert not outcome("worse", "inferior")


def test_tables_are_plain_ascii_without_rules_between_columns(data: ReportData) -> None:
    for table in print_tables(data):
        assert table.text.isascii()
        assert "|" not in table.text
    assert all("--}" in table.text for table in _main(data))


def test_the_appendix_prints_what_stands_beside_the_differences(data: ReportData) -> None:
    costs, beside, calibrated, _ = print_tables(data)[-4:]
    key = "r8/gemma3/wire-vs-text/accuracy"
    row = next(row for row in ROW.finditer(beside.text) if row["ids"] == key)["cells"].split(" & ")
    record = data.get_comparison(key)
    assert row[1] == _interval(record["checkpoint"]["low"], record["checkpoint"]["high"], sign=True)
    assert row[3] == _interval(record["bootstrap"]["low"], record["bootstrap"]["high"], sign=True)
    kept, likely = record["retention"], record["posterior"]
    assert row[4] == f"{format_points(kept['ratio'])} {_interval(kept['low'], kept['high'])}"
    assert row[5] == " / ".join(format_points(likely[name]) for name in ("worse", "equivalent", "better"))
    assert row[6] == record["equivalence"]["outcome"]
    error = data.stats["calibration"]["r8/gemma3/wire/ece"]
    assert f"Wire & {format_points(error['value'])} & {_interval(error['low'], error['high'])} & " in calibrated.text
    assert "Wire & yes & F & 8 & 3,072.0 & 3,072.0" in costs.text


def test_the_checklist_is_answered_from_the_data(data: ReportData) -> None:
    def fewer(stats: dict[str, Any]) -> None:
        stats["methods"]["wire"]["seeds"] = [0, 1, 2, 3]
        stats["tasks"]["r8"]["absent"] = ["ship"]

    assert "Wire: 3 of 3 seeds (0, 1, 2) in every cell" in print_tables(data)[-1].text
    changed = print_tables(_changed(data, fewer))[-1].text
    assert "Wire: 3 of 4 seeds (0, 1, 2, 3)" in changed
    assert "Reuters R8: ship." in changed


def test_the_best_is_bold_and_the_family_is_named(data: ReportData) -> None:
    text = print_tables(data)[1].text
    best = data.get_block("rotten_tomatoes", "smollm2")["best"]
    bold = [row for row in ROW.finditer(text) if r"\bfseries" in row["cells"]]
    assert f"/{best}/" in bold[0]["ids"]
    sizes = "24 of trained methods with baselines and 24 of other methods with Text"
    assert f"over all tasks and receivers: {sizes}" in text.replace("\n", " ")
    assert r"adj:holm\textbar{}m:24\textbar{}S:3\textbar{}N:600" in text


def test_the_controls_print_what_is_expected_of_permuted_answers(data: ReportData) -> None:
    table = next(table for table in print_tables(data) if table.name == "controls.tex")
    rows = list(ROW.finditer(table.text))
    assert len(rows) == 8
    for row in rows:
        record = data.stats["controls"][row["ids"]]
        for share in (record["accuracy"], record["expected"], record["adjusted"]["mde"]):
            assert re.search(rf"(?<![\d.]){_aligned(share)} ", row["cells"] + " "), row["cells"]


def test_the_paper_says_where_a_baseline_wins(data: ReportData) -> None:
    text = print_paper(data, TITLE)
    verdicts = [r["verdict"] for r in data.get_family("versus_baselines")]
    assert f"Where Wire wins ({verdicts.count('better')} of 24)" in text
    assert f"Where a baseline wins ({verdicts.count('worse')} of 24)" in text
    lost = text.split("Where a baseline wins")[1].split("Where no difference")[0]
    for record in (r for r in data.get_family("versus_baselines") if r["verdict"] == "worse"):
        assert rf"\emph{{{data.display_name(record['b'])}}} (" in lost
        assert f"{data.display_name(record['task'])}, {data.display_name(record['receiver'])}" in lost
    assert not re.search(r"points|\[", lost)
    assert f"Where no difference was shown ({verdicts.count('not different')} of 24)" in text
    assert "better than the majority class in 4 of 4 cases" in text
    late = verdicts.count("not after correction")
    assert f"Where a difference does not outlast Holm's correction ({late} of 24)" in text
    assert sum(map(verdicts.count, set(verdicts))) == 24
    assert r"A wire \& 100\% of its readers" in text


def test_the_paper_follows_the_statistics(data: ReportData) -> None:
    def lose(stats: dict[str, Any]) -> None:
        for key in stats["families"]["versus_chance"]["members"]:
            stats["comparisons"][key]["adjusted"]["verdict"] = "not different"
        for key in stats["families"]["controls"]["members"]:
            stats["controls"][key]["adjusted"]["verdict"] = "leak"

    text = print_paper(_changed(data, lose), TITLE)
    assert "better than the majority class in 0 of 4 cases" in text
    assert text.count("(not shown to differ)") == 4
    assert text.count(r"\textbf{above its permuted answers in 4 of 4 cases; the control fails}") == 2


def test_the_abstract_gives_differences_with_intervals_and_counts_no_votes(data: ReportData) -> None:
    abstract = print_paper(data, TITLE).split(r"\end{abstract}")[0].replace("\n", " ")
    chosen = [r for r in data.get_family("versus_baselines") if r["b"] == "text"]
    assert len(chosen) == 4
    for record in chosen:
        assert _interval(record["low"], record["high"], sign=True) in abstract
    assert r"\emph{Wire} minus \emph{Text (zero-shot)}: " in abstract
    assert not re.search(r"[.)][A-Z]", abstract.split(r"\begin{abstract}")[1].replace("Gemma-3", ""))
    assert "Against the strongest baseline: Rotten Tomatoes, SmolLM2-135M (Linear probe) " in abstract
    assert not re.search(r"\bin \d+ (of \d+ )?(cases|comparisons)|worse in", abstract)


def test_of_many_differences_the_abstract_gives_the_smallest_and_the_largest(data: ReportData) -> None:
    records = [r | {"id": str(n), "value": n / 100} for n, r in enumerate(5 * data.get_family("versus_baselines")[:1])]
    text = "".join(map(str, claims._effects([(f"place {n}", record) for n, record in enumerate(records)])))
    assert text.startswith("of 5 cases the smallest and the largest: place 0 ")
    assert "place 4 +4.0 points" in text
    assert "place 2" not in text


def test_a_difference_that_the_correction_takes_away_is_called_so(data: ReportData) -> None:
    key = "r8/gemma3/wire-vs-text/accuracy"

    def weaken(stats: dict[str, Any]) -> None:
        stats["comparisons"][key]["adjusted"] |= {"verdict": "not after correction", "p": 0.2}

    changed = _changed(data, weaken)
    text = print_paper(changed, TITLE).replace("\n", " ")
    before = print_paper(data, TITLE).count("(not after the correction)")
    assert text.count("(not after the correction)") == before + 1
    table = next(table for table in print_tables(changed) if table.name == "versus_baselines.tex")
    row = next(row["cells"] for row in ROW.finditer(table.text) if row["ids"] == key)
    assert re.search(r"not after\W+correction", row.split(" & ")[-1])
    assert f" {_aligned(data.get_adjusted(key)['mde'])} " in row


def test_a_mean_of_differences_with_opposite_signs_is_marked(data: ReportData) -> None:
    key = "all-tasks/smollm2/wire-vs-text/accuracy"

    def mix(stats: dict[str, Any]) -> None:
        for one, record in stats["comparisons"].items():
            if one.startswith("all-tasks"):
                record["signs_differ"] = one == key

    mixed = print_tables(_changed(data, mix))[0].text
    assert [row["ids"].split(", ")[1] for row in ROW.finditer(mixed) if r"\ddag" in row["cells"]] == [key]
    assert "above the reference on one task and below it on another" in mixed.replace("\n", " ")
    for record in (data.get_comparison(key), data.get_comparison(key.replace("wire", "truncated"))):
        assert record["value"] == pytest.approx(sum(record["by_task"].values()) / 2)
        assert record["signs_differ"] == (min(record["by_task"].values()) < 0 < max(record["by_task"].values()))


def test_a_difference_without_interval_prints_a_dash_and_says_why(data: ReportData) -> None:
    def collapse(stats: dict[str, Any]) -> None:
        record = stats["comparisons"]["rotten_tomatoes/smollm2/truncated-vs-text/accuracy"]
        record |= {"value": 0.0, "low": None, "high": None}
        record["adjusted"] |= {"p": 1.0, "verdict": "not different", "mde": None}

    changed = _changed(data, collapse)
    text = print_tables(changed)[1].text
    assert r"& 0.0 & {\scriptsize --} & 1.000 & {--} \\ % rotten_tomatoes/smollm2/truncated/" in text
    assert "without an interval is the same on every example" in text
    assert "without an interval" not in print_tables(data)[1].text


@pytest.mark.long
def test_one_seed_speaks_of_the_checkpoint_only(tmp_path: Path) -> None:
    synthetic_predictions.build(tmp_path, seeds=[5], count=80)
    synthetic_predictions.aggregate(tmp_path)
    data = read_report_data(tmp_path / "results/aggregate", {})
    assert data.get_cell("r8/gemma3/wire/accuracy")["estimand"] == "this checkpoint"
    assert "seed variance not estimated" in print_tables(data)[1].text
    assert "holds for this checkpoint only" in print_paper(data, TITLE)


@pytest.mark.long
def test_two_builds_are_the_same_bytes(reports: Path, aggregated: Path, tmp_path: Path) -> None:
    shutil.copytree(aggregated / "results/aggregate", tmp_path / "results/aggregate")
    (tmp_path / "reports/tables").mkdir(parents=True)
    (tmp_path / "reports/tables/of_a_former_grid.tex").write_text("old")
    build_report(tmp_path, TITLE, synthetic_predictions.NAMES)
    first = {path.relative_to(reports): path.read_bytes() for path in reports.rglob("*") if path.suffix}
    second = {
        p.relative_to(tmp_path / "reports"): p.read_bytes() for p in (tmp_path / "reports").rglob("*") if p.suffix
    }
    assert first.keys() == second.keys()
    assert [path for path, content in first.items() if second[path] != content] == []


def test_provenance_names_every_file_and_nothing_of_this_machine(reports: Path) -> None:
    text = (reports / "provenance.json").read_text()
    provenance = json.loads(text)
    for path, output in provenance["outputs"].items():
        assert output["sha256"] == sha256_of(reports.parent / path)
    for path, digest in provenance["inputs"].items():
        assert digest == sha256_of(reports.parent / path)
    stats = json.loads((reports.parent / "results/aggregate/stats.json").read_text())
    known = set(signed_entries(stats))
    assert {key for output in provenance["outputs"].values() for key in output["ids"]} <= known
    assert str(reports) not in text
    assert provenance["sources"] == stats["sources"]


def test_figures_embed_scalable_fonts_only(reports: Path) -> None:
    for path in (reports / "figures").glob("*.pdf"):
        content = path.read_bytes()
        assert b"/Type3" not in content
        assert b"CreationDate" not in content


@pytest.mark.parametrize("name", ["stats.json", "curves.csv"])
def test_missing_statistics(aggregated: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(aggregated / "results/aggregate", tmp_path / "aggregate")
    (tmp_path / "aggregate" / name).unlink()
    with pytest.raises(EvidenceError, match=f"{name} is missing, expected the statistics. Next: `dvc repro aggregate`"):
        read_report_data(tmp_path / "aggregate", {})


def test_statistics_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text("task\n")
    (tmp_path / "stats.json").write_text('{"schema": "latentwire-stats/0"}')
    with pytest.raises(EvidenceError, match="'latentwire-stats/0', expected 'latentwire-stats/9'"):
        read_report_data(tmp_path, {})
