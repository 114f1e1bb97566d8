"""Evidence of a finished pipeline: every change between predictions and tables is found and named."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from latentwire.archive import folder as archive
from latentwire.errors import ConfigurationError, EvidenceError
from latentwire.execution import report as appendix
from latentwire.params.load import load_params
from latentwire.verification import published, rows, trace, verify
from latentwire.verification.rows import Status
from tests.support.published_results import (
    CELL,
    PREDICTIONS,
    answer_otherwise,
    checked,
    edit_byte,
    edit_digit,
    edit_rows,
    git,
    of_wire,
    other_label,
    reasons,
)
from tests.support.workspace import Workspace


def swap_ids(listed: list[dict[str, Any]]) -> None:
    first, second = of_wire(listed)[:2]
    first["example_id"], second["example_id"] = second["example_id"], first["example_id"]


def test_published_results_are_confirmed(committed: Workspace) -> None:
    said = committed.run("latentwire", "verify")
    assert "0 compatible, 0 contradicted, 0 not verifiable" in said
    for name in ("train@wire-tiny-1", "aggregate", "reports/tables/tiny.tex", "reports/figures/accuracy.png"):
        assert re.search(rf"^identical +\w+ +{re.escape(name)}", said, re.M), said


def test_a_prediction_edited_by_hand(place: Workspace) -> None:
    edit_rows(place.root / PREDICTIONS, lambda listed: listed[0].update(prediction=other_label(listed[0])))
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    assert re.search(
        rf"{PREDICTIONS}: row 0 \(method wire.*\) has prediction '\w+', published '\w+'; 1 such rows; no stage wrote",
        reasons(found, "evaluate@wire-tiny-0"),
    )
    assert "another label has the highest score" in reasons(found, "aggregate")


def test_a_prediction_edited_with_its_scores(place: Workspace) -> None:
    edit_rows(place.root / PREDICTIONS, lambda listed: answer_otherwise(of_wire(listed)[0]))
    found = checked(place.root)
    assert f"{PREDICTIONS}: row" in reasons(found, "evaluate@wire-tiny-0")
    assert re.search(
        r"is [\d.'x\w]+ in results/aggregate/stats.json, but the predictions give", reasons(found, "aggregate")
    )
    assert re.search(r"tiny\.tex: line \d+ is .*, by the predictions ", reasons(found, "reports/tables/tiny.tex"))


def test_a_removed_seed(place: Workspace) -> None:
    shutil.rmtree(place.root / "results/evaluate/wire-tiny-1")
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    missing = next(row for row in found if row.name == "evaluate@wire-tiny-1")
    assert (missing.status, missing.why) == (
        Status.NOT_VERIFIABLE,
        "results/evaluate/wire-tiny-1 missing. Next: `make repro`; or `dvc pull`, after `dvc remote add -d NAME URL` "
        "of whoever has published the results",
    )
    assert "results/evaluate/wire-tiny-1/predictions.parquet" in reasons(found, "aggregate")


def test_files_that_were_cut_off(place: Workspace) -> None:
    for name in (PREDICTIONS, "results/aggregate/stats.json", "reports/provenance.json"):
        path = place.root / name
        path.write_bytes(path.read_bytes()[:-40])
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    assert f"{PREDICTIONS}: it is not a Parquet file" in reasons(found, "evaluate@wire-tiny-0")
    assert "stats.json: it is not JSON" in reasons(found, "aggregate")
    with pytest.raises(EvidenceError, match=r"stats\.json is not JSON .*Next: "):
        trace.trace_number(place.root, CELL)


def test_a_seed_removed_from_the_parameters(place: Workspace) -> None:
    place.set(train__seeds=[0])
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    assert "but the predictions give" in reasons(found, "aggregate")


def test_an_edited_gold_label(place: Workspace) -> None:
    path = place.root / "results/prepare/tiny/examples.parquet"
    edit_rows(path, lambda listed: listed[0].update(label="dark" if listed[0]["label"] == "light" else "light"))
    assert re.search(r"examples.parquet: row 0 .* has label", reasons(checked(place.root), "prepare"))


DIGITS = (
    ("results/aggregate/stats.json", '"cells"', "aggregate", r"stats.json: cells › tiny/.* is .*, published "),
    (
        "results/aggregate/metrics.json",
        "wire",
        "aggregate",
        r"metrics.json: tiny › .* is .*, published",
    ),
    ("results/aggregate/curves.csv", "train/loss", "aggregate", r"curves.csv: line \d+ is .*, published "),
    ("reports/tables/tiny.tex", r"\midrule", "reports/tables/tiny.tex", r"line \d+ is .*, by the predictions "),
    ("reports/paper.tex", r"\begin{document}", "reports/paper.tex", r"line \d+ is .*, by the predictions "),
    ("reports/report.md", "|", "reports/report.md", r"report.md: line \d+ is .*, by the predictions "),
    ("reports/report.html", "<table", "reports/report.html", r"report.html: line \d+ is .*, by the predictions "),
    ("reports/provenance.json", '"rows"', "reports/provenance.json", r"sources › .* › rows is "),
    ("results/train/wire-tiny-0.json", "gemma", "train@wire-tiny-0", r"validation/accuracy/gemma is .*, published"),
)


def test_changed_digits(place: Workspace) -> None:
    for file, after, _, _ in DIGITS:
        edit_digit(place.root / file, after)
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    for file, _, row, named in DIGITS:
        assert re.search(named, reasons(found, row)), file


def test_a_changed_byte_in_any_file_of_the_report(place: Workspace) -> None:
    """Every table, every form of every figure, paper, page and Markdown has a row that names it."""
    names = list(json.loads((place.root / "reports/provenance.json").read_text())["outputs"])
    assert {Path(name).suffix for name in names} == {".tex", ".pdf", ".png", ".svg", ".html", ".md"}
    for name in names:
        edit_byte(place.root / name)
    found = checked(place.root)
    for name in names:
        assert name in reasons(found, name) or "by the predictions" in reasons(found, name)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("confidence: 0.95", r" is \S+ in results/aggregate/stats.json, but the predictions give \S+"),
        ("lr: 0.01", r"parameters is '\w{64}' in .*stats.json, but the predictions give '\w{64}'"),
    ],
)
def test_a_changed_digit_of_the_parameters(place: Workspace, key: str, named: str) -> None:
    path = place.root / "params.yaml"
    path.write_text(path.read_text().replace(f" {key}\n", f" {key[:-1]}{(int(key[-1]) - 3) % 10}\n"))
    assert re.search(named, reasons(checked(place.root), "aggregate"))


def test_a_changed_digit_of_the_lock(place: Workspace) -> None:
    path = place.root / "dvc.lock"
    lines = path.read_text().splitlines()
    start = lines.index("  evaluate@wire-tiny-1:")
    line = next(i for i in range(start, len(lines)) if lines[i].strip() == "outs:") + 3
    assert lines[line].strip().startswith("md5: ")
    lines[line] = lines[line].replace("md5: ", "md5: 0")[: len(lines[line])]
    path.write_text("\n".join(lines) + "\n")
    said = reasons(checked(place.root), "evaluate@wire-tiny-1")
    assert re.search(r"dvc.lock says 0\w{11} of results/evaluate/wire-tiny-1, which has \w{12}", said)


def test_changed_digits_of_which_no_statistics_can_be_made(place: Workspace) -> None:
    edit_digit(place.root / "results/train/wire-tiny-0/journal.jsonl", '"train/loss":')
    edit_digit(place.root / "results/evaluate/wire-tiny-0/meta.json", '"bytes_per_example"')
    found = checked(place.root)
    assert re.search(r"journal.jsonl: line 1 is .*, published", reasons(found, "train@wire-tiny-0"))
    assert "bytes_per_example is 228.0, published 128.0" in reasons(found, "evaluate@wire-tiny-0")
    assert "bytes_per_example of wire on tiny is [128.0, 228.0]" in reasons(found, "aggregate")


def test_swapped_ids_and_changed_figures(place: Workspace) -> None:
    edit_rows(place.root / PREDICTIONS, swap_ids)
    figure = place.root / "reports/figures/accuracy.png"
    data = figure.read_bytes()
    figure.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    shutil.copy(figure, figure.with_name("better.png"))
    found = checked(place.root)
    assert "bytes by the predictions, and they differ" in reasons(found, "reports/figures/accuracy.png")
    assert re.search(
        r"has example_id '\w{16}', published '\w{16}'; 2 such rows", reasons(found, "evaluate@wire-tiny-0")
    )
    assert reasons(found, "reports/figures/better.png") == "reports/figures/better.png was not published"


def test_without_published_results(finished: Workspace) -> None:
    said = finished.run("latentwire", "verify", code=4)
    assert "has no dvc.lock" in said
    assert "Next: " in said
    with pytest.raises(ConfigurationError, match="'nowhere' is neither a folder nor a git revision"):
        published.find_published(finished.root, "nowhere")


def test_a_fresh_clone(place: Workspace, tmp_path: Path) -> None:
    place.dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    place.dvc("push", "-q")
    git(place.root, "commit", "-qam", "remote")
    clone = Workspace(tmp_path / "clone")
    git(tmp_path, "clone", "-q", str(place.root), str(clone.root))
    shutil.copy(place.root / "params.yaml", clone.root)
    said = clone.run("latentwire", "verify", code=4)
    assert "results/evaluate/wire-tiny-0 missing. Next: `dvc pull`" in said
    assert "0 identical, 0 compatible, 0 contradicted" in said
    clone.dvc("pull", "-q")
    assert "0 contradicted, 0 not verifiable" in clone.run("latentwire", "verify")


def test_trace_shows_the_chain_and_recomputes(committed: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.trace_number(committed.root, CELL) == 0
    said = capsys.readouterr().out
    manifest = json.loads((committed.root / "results/train/wire-tiny-0/manifest.json").read_bytes())
    task = json.loads((committed.root / "results/prepare/tiny/task.json").read_text())
    facts = (
        PREDICTIONS,
        hashlib.sha256((committed.root / PREDICTIONS).read_bytes()).hexdigest(),
        manifest["state"],
        manifest["identity"],
        task["digest"],
        git(committed.root, "rev-parse", "HEAD").strip(),
        "not run from an image",
        "MLflow has none",
        "recomputed from the predictions: equal",
    )
    for fact in facts[:-2]:
        assert fact in said
    assert re.search(r"MLflow run +[0-9a-f]{32} \(FINISHED\)", said)
    assert said.rstrip().endswith(facts[-1])


def test_trace_of_a_difference_names_both_sides(committed: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.trace_number(committed.root, "tiny/llama/wire-vs-text/accuracy") == 0
    said = capsys.readouterr().out
    assert "results/baseline/tiny/text/predictions.parquet" in said
    assert "results/evaluate/wire-tiny-1/predictions.parquet" in said


def test_trace_finds_an_edited_prediction_and_an_edited_number(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.root / "mlflow.db").unlink()
    edit_rows(place.root / PREDICTIONS, lambda listed: answer_otherwise(of_wire(listed)[0]))
    assert trace.trace_number(place.root, CELL) == 3
    said = capsys.readouterr().out
    assert "MLflow has none" in said
    assert "BROKEN: the file has SHA-256" in said
    assert "different: " in said


def test_trace_lists_the_ids_of_a_table_and_names_like_a_wrong_one(
    committed: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trace.trace_number(committed.root, "tiny.tex") == 0
    assert CELL in capsys.readouterr().out.splitlines()
    with pytest.raises(ConfigurationError, match=f"'tiny/llama/wir/accuracy'.*such as {CELL}"):
        trace.trace_number(committed.root, "tiny/llama/wir/accuracy")


def test_an_archive_is_whole_and_can_be_verified_against(committed: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "deposit"
    said = committed.run("latentwire", "archive", str(target))
    assert "DRAFT" not in said
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=target, check=False).returncode == 0
    crate = {entity["@id"]: entity for entity in json.loads((target / "ro-crate-metadata.json").read_text())["@graph"]}
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert {part["@id"] for part in crate["./"]["hasPart"]} == files - {"ro-crate-metadata.json"}
    assert crate[PREDICTIONS]["sha256"] == hashlib.sha256((committed.root / PREDICTIONS).read_bytes()).hexdigest()
    for name in ("params.yaml", "dvc.lock", "LICENSE", "CITATION.cff", "results/aggregate/stats.json"):
        assert name in crate
    assert not [name for name in files if name.endswith("examples.parquet")]
    assert ("reports/paper.pdf" in files) == (shutil.which("latexmk") is not None)
    found = verify.verify_results(committed.root, published.find_published(committed.root, str(target)))
    assert rows.verification_exit_code(found) == 0


def test_an_archive_of_unverified_results_is_refused_or_marked(place: Workspace, tmp_path: Path) -> None:
    edit_digit(place.root / "reports/tables/tiny.tex", r"\midrule")
    found = archive.reasons_against_publishing(place.root, checked(place.root))
    with pytest.raises(EvidenceError, match=r"first: report contradicted: .*tiny\.tex.*--draft"):
        archive.check_publishable(found)
    target = archive.write_archive(place.root, tmp_path / "deposit", found)
    root = next(
        entity
        for entity in json.loads((target / "ro-crate-metadata.json").read_text())["@graph"]
        if entity["@id"] == "./"
    )
    assert root["name"].startswith("DRAFT: ")
    assert root["creativeWorkStatus"] == "Draft"
    assert "title: 'DRAFT: " in (target / "CITATION.cff").read_text()
    assert "reports/tables/tiny.tex contradicted" in (target / "DRAFT.md").read_text()
    with pytest.raises(ConfigurationError, match="is there already"):
        archive.write_archive(place.root, target, found)


def test_the_execution_report_changes_no_result(place: Workspace) -> None:
    before = place.results(["results"])
    values = load_params(place.root / "params.yaml")
    written = appendix.write_execution(place.root, appendix.gather_execution(place.root, values))
    text = written[0].read_text()
    assert re.search(r"\| wire-tiny-0 \| [0-9a-f]{12} \| 1 \| [^|]+ \| 0 \| 0 \| 12 \| 0 \| [\d.]+ \|", text)
    assert place.results(["results"]) == before
    assert git(place.root, "status", "--short") == ""


def test_measured_costs_are_no_result(place: Workspace) -> None:
    before, lock = place.results(["results"]), (place.root / "dvc.lock").read_bytes()
    few = ("--examples", "2", "--repeats", "1")
    place.stage("profile", *few)
    written = place.root / "reports/execution"
    assert {path.name for path in written.iterdir()} == {"profile.json", "profile.md", "latency.png"}
    ways = json.loads((written / "profile.json").read_text())["ways"]
    readers, methods = ("llama", "gemma"), ("wire", "text", "truncated")
    assert {(way["receiver"], way["method"]) for way in ways} == {(r, m) for r in readers for m in methods}
    said = place.stage("profile", *few, "--against", "reports/execution/profile.json", "--tolerance", "1000")
    assert said.count("compatible       cost    tiny/") == len(ways)
    assert (place.results(["results"]), (place.root / "dvc.lock").read_bytes()) == (before, lock)
    assert git(place.root, "status", "--short") == ""


@pytest.mark.slow
def test_recompute_runs_everything_again(committed: Workspace) -> None:
    said = committed.run("latentwire", "verify", "--recompute", limit=1800)
    assert "0 compatible, 0 contradicted, 0 not verifiable" in said
