"""docs/adopt.md: its files written, its commands typed in a fresh clone; then what is to be seen there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import mlflow
import pytest

from latentwire.headline import headline_markdown, read_headline, summary_markdown
from tests.support.typed_pages import clone_with_environment, read_commands, type_commands

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adopt.md").read_text(encoding="utf-8")
ITEMS = [f"{method}-digits-{seed}" for method in ("mlp", "linear") for seed in range(3)]
EDITED = ("params.yaml", "dvc.yaml")
FOREIGN = re.compile(r"\b(receivers?|wires?|senders?|prompts?|language models?|texts?)\b", re.I)
"""Words of another experiment."""


def files() -> dict[str, str]:
    """Path → content of every file that the page shows."""
    return dict(re.findall(r"^```(?:python|yaml) (\S+)\n(.*?)^```$", PAGE, re.M | re.S))


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The clone after the walk, and what each block printed."""
    clone = tmp_path_factory.mktemp("adopted") / "clone"
    clone_with_environment(clone)
    for name, content in files().items():
        (clone / name).write_text(content, encoding="utf-8")
    return clone, type_commands(read_commands(PAGE), clone)


pytestmark = pytest.mark.long


def test_four_files_are_new_and_two_are_edited(walk: tuple[Path, list[str]]) -> None:
    tracked = set(subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split())
    new = [name for name in files() if name not in tracked]
    assert len(new) <= 4
    assert sorted(set(files()) - set(new)) == sorted(EDITED)


def test_a_training_that_is_killed_goes_on(walk: tuple[Path, list[str]]) -> None:
    _, (_, killed, _, _, *_) = walk
    assert re.search(r"mlp-digits-0 .* killed", killed)
    assert [word for word in ("killed", "finished") if word in killed.rpartition("dvc repro")[2]][-1] == "finished"


def test_a_preempted_job_says_so(walk: tuple[Path, list[str]]) -> None:
    _, (_, _, preempted, *_) = walk
    assert preempted.rstrip().endswith("exit code 75")


def test_every_folder_is_complete_and_every_number_can_be_traced(walk: tuple[Path, list[str]]) -> None:
    clone, (_, _, _, results, verified, _) = walk
    for folder in ("prepare/digits", "baseline/digits/majority", *(f"train/{item}" for item in ITEMS)):
        assert f"results/{folder}: complete" in results
    assert all(f"results/evaluate/{item}: complete" in results for item in ITEMS)
    assert re.search(r"│ Perceptron† +│ 1,098 +│ 3 ", results)
    assert "recomputed from the predictions: equal" in results
    assert "0 contradicted" in verified
    assert "DRAFT" not in (clone / "reports/report.md").read_text(encoding="utf-8")


def test_the_report_speaks_of_no_other_experiment(walk: tuple[Path, list[str]]) -> None:
    clone, _ = walk
    report = (clone / "reports/report.md").read_text(encoding="utf-8")
    assert FOREIGN.findall(report) == []
    assert "*Perceptron* minus *Linear layer*: Digits +" in report
    assert {path.stem for path in (clone / "reports/figures").glob("*.svg")} >= {"learning_curves", "differences"}
    stats = json.loads((clone / "results/aggregate/stats.json").read_text(encoding="utf-8"))
    assert stats["cells"]["digits/none/mlp/accuracy"]["value"] > 0.85
    assert stats["cells"]["digits/none/mlp/accuracy"]["S"] == 3


def test_the_tables_of_its_pages_can_be_written(walk: tuple[Path, list[str]]) -> None:
    data = read_headline(walk[0])
    head, _, *rows = summary_markdown(data).splitlines()
    assert head.startswith("| Task | Perceptron | Linear layer |")
    assert [row.split(" | ")[0] for row in rows] == ["| Digits, accuracy"]
    assert "| Perceptron" in headline_markdown(data)


def test_mlflow_has_every_training_and_the_statistics(walk: tuple[Path, list[str]]) -> None:
    clone, _ = walk
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == sorted([*ITEMS, "statistics"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    trained = next(run for run in runs if run.info.run_name == "mlp-digits-0")
    assert len(client.get_metric_history(trained.info.run_id, "train/loss")) == 120
    assert trained.data.params["method.hidden"] == "32"
    assert trained.data.tags["seed"] == "0"
