"""Files that stages hand on: complete as the library writes them, and a sentence for everything that is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from latentwire.contract import check_contract
from latentwire.item import TrainItem
from latentwire.params.load import load_any_params, load_params
from latentwire.reporting.build import build_report
from latentwire.statistics.curves import learning_curves
from latentwire.statistics.grid import expected_grid
from latentwire.statistics.summary import compute_statistics
from latentwire.statistics.write import write_statistics
from latentwire.verification.disproofs import find_disproofs
from tests.support.own_experiment import STEPS, build

ROOT = Path(__file__).parents[2]
Change = Callable[[Path], None]
DEEP, EVALUATED, TASK = "results/train/deep-parity-0", "results/evaluate/deep-parity-0", "results/prepare/parity"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose four stages have run; nobody writes into it."""
    root = tmp_path_factory.mktemp("own")
    build(root)
    return root


def lacks(root: Path) -> dict[str, str]:
    folders = check_contract(root, load_any_params(root / "params.yaml"))
    return {folder.name: folder.lacks for folder in folders if folder.lacks}


def test_what_the_library_writes_is_complete(finished: Path) -> None:
    assert lacks(finished) == {}
    names = [folder.name for folder in check_contract(finished, load_any_params(finished / "params.yaml"))]
    assert names == [
        TASK,
        *(f"results/train/{method}-parity-{seed}" for method in ("deep", "flat") for seed in (0, 1)),
        *(f"results/evaluate/{method}-parity-{seed}" for method in ("deep", "flat") for seed in (0, 1)),
        "results/baseline/parity/majority",
    ]


def change_json(path: str, **facts: object) -> Change:
    """Put facts into a file, or take those out that are None."""

    def change(root: Path) -> None:
        known = {**json.loads((root / path).read_text()), **facts}
        (root / path).write_text(json.dumps({name: value for name, value in known.items() if value is not None}))

    return change


def remove(path: str) -> Change:
    return lambda root: (root / path).unlink()


def take_a_row(root: Path) -> None:
    path = root / EVALUATED / "predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path, index=False)


def cut_the_journal(root: Path) -> None:
    path = root / DEEP / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("change", "folder", "sentence"),
    [
        (remove(f"{TASK}/task.json"), TASK, "task.json is missing"),
        (change_json(f"{TASK}/task.json", source_sha256=None), TASK, "lacks source_sha256, expected counts, digest"),
        (change_json(f"{TASK}/task.json", counts={"train": {}}), TASK, "counts the splits train, expected train, val"),
        (change_json(f"{TASK}/task.json", digest="0" * 64), TASK, "texts or labels were changed"),
        (remove(f"{DEEP}/manifest.json"), DEEP, "manifest.json is missing, expected what a finished run wrote"),
        (remove(f"{DEEP}.json"), DEEP, "Next: `dvc repro train@deep-parity-0`."),
        (remove(f"{DEEP}.json"), DEEP, "deep-parity-0.json is missing, expected numbers of the last step"),
        (change_json(f"{DEEP}.json", **{"train/loss": 0.5}), DEEP, "has train/loss 0.5, expected 0.333"),
        (cut_the_journal, DEEP, "journal.jsonl"),
        (remove(f"{EVALUATED}/meta.json"), EVALUATED, "lacks meta.json. Next: `dvc repro evaluate@deep-parity-0`."),
        (change_json(f"{EVALUATED}/meta.json", training_labels=None), EVALUATED, "without training_labels, expected"),
        (change_json(f"{EVALUATED}/meta.json", checkpoint="1" * 64), EVALUATED, "names the checkpoint 1111"),
        (take_a_row, EVALUATED, "11 examples for deep on none, expected the 12"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    change: Change, folder: str, sentence: str, finished: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "changed"))
    change(root)
    found = lacks(root)
    assert sentence in found[folder]
    assert "Next: " in found[folder]


def test_an_ablation_comes_from_the_stages_that_dvc_has_for_it(tmp_path: Path) -> None:
    values = load_params(ROOT / "params.yaml")
    found = {folder.name: folder.lacks for folder in check_contract(tmp_path, values)}
    for item in TrainItem.all(values):
        assert str(found[f"results/evaluate/{item.name}"]).endswith(f"Next: `dvc repro {item.stage('evaluate')}`.")
    assert "`dvc repro evaluate_ablation@wire_1-r8-0`" in str(found["results/evaluate/wire_1-r8-0"])


def test_the_numbers_and_the_report_follow_from_these_files_alone(finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "complete"))
    values = load_any_params(root / "params.yaml")
    stats = compute_statistics(root / "results", values)
    assert stats["order"]["receivers"] == ["none"]
    assert {key: family["m"] for key, family in stats["families"].items()} == {
        "versus_chance": 2,
        "versus_reference": 1,
    }
    write_statistics(root / "results/aggregate", stats, learning_curves(root / "results", expected_grid(values), STEPS))
    build_report(root, "Parity", values.report.names, method="Numbers were counted.")
    report = (root / "reports/report.md").read_text(encoding="utf-8")
    assert "Numbers were counted." in report
    assert "| Deep | `width` 4, 4 trained numbers |" in report
    assert find_disproofs(root, values) == {}


def test_a_training_that_is_counted_twice_is_found(finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "copied"))
    shutil.rmtree(root / "results/train/deep-parity-1")
    shutil.copytree(root / DEEP, root / "results/train/deep-parity-1")
    said = find_disproofs(root, load_any_params(root / "params.yaml"))["train@deep-parity-1"]
    assert "weights are those of deep-parity-0" in said


def test_a_line_names_its_folder_once(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    found = check_contract(tmp_path, load_any_params(tmp_path / "params.yaml"))
    assert found
    assert [folder for folder in found if str(folder.lacks).startswith(str(tmp_path / folder.name))] == []
    assert any(str(folder.lacks).startswith("lacks predictions.parquet and meta.json") for folder in found)
