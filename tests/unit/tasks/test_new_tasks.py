"""docs/tasks.md: its tasks are added by parameters alone, and prepared; those of a hub from its cache."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from ruamel.yaml import YAML

from latentwire.assets import Assets
from latentwire.errors import ConfigurationError
from latentwire.params.load import Params, parse_params
from latentwire.tasks.loading import prepare_task
from tests.unit.tasks.test_formats import parquet

ROOT = Path(__file__).parents[3]
REVISION = "0123456789abcdef0123456789abcdef01234567"
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/tasks.md").read_text(encoding="utf-8"), re.DOTALL)


def merged(block: str) -> dict[str, Any]:
    """params.yaml with a block of the page in it."""
    values: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, entries in YAML(typ="safe").load(block).items():
        for key, value in entries.items():
            values[section][key] = {**values[section][key], **value} if key == "names" else value
    return values


def params(block: str) -> Params:
    return parse_params(merged(block), "docs/tasks.md")


@pytest.mark.assets
@pytest.mark.parametrize("task", ["imdb", "newsgroups"])
def test_the_tasks_of_the_page_are_prepared(task: str) -> None:
    if not (ROOT / "assets").is_dir():
        pytest.skip("no assets/ here: `make setup` fetches the wheels")
    values = params(BLOCKS[0])
    assert task in values.prepare.tasks
    prepared = prepare_task(task, values.tasks[task], values.prepare, Assets(ROOT / "assets", ROOT / "assets.lock"))
    sizes = {part: sum(labels.values()) for part, labels in prepared.counts.items()}
    assert sizes == values.prepare.limits.model_dump()
    assert min(min(labels.values()) for labels in prepared.counts.values()) > 0
    assert len({example.example_id for example in prepared.examples}) == sum(sizes.values())


def test_dvc_makes_stages_of_them(tmp_path: Path) -> None:
    """Labels that are numbers, or have dots and dashes, are no trouble to DVC's templates."""
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(merged(BLOCKS[0]), file)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q"], cwd=tmp_path, check=True)
    done = subprocess.run([*dvc, "stage", "list", "--name-only"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"encode@imdb", "train@wire-newsgroups-2"} <= set(done.stdout.split())


def hub_rows() -> list[dict[str, Any]]:
    """Pairs with three labels and some without one."""
    return [{"premise": f"fact {i}", "hypothesis": f"claim {i}", "label": i % 4 - 1} for i in range(1200)]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached; the folder of the data set's revision in it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / f"datasets--ORG--NAME/snapshots/{REVISION}/data"
    folder.mkdir(parents=True)
    return folder


def test_pairs_of_a_hub_are_prepared_from_its_cache(hub: Path) -> None:
    rows = hub_rows()
    (hub / "train.parquet").write_bytes(parquet(rows[:800]))
    (hub / "test.parquet").write_bytes(parquet(rows[800:]))
    values = params(BLOCKS[1])
    prepared = prepare_task("pairs", values.tasks["pairs"], values.prepare)
    assert {key: sum(counts.values()) for key, counts in prepared.counts.items() if key != "validation"} == {
        "train": 600 - sum(prepared.counts["validation"].values()),
        "test": 300,
    }
    assert prepared.counts["test"] == {"0": 100, "1": 100, "2": 100}
    texts = {example.text for example in prepared.examples}
    assert "fact 1 Claim: claim 1" in texts
    assert len(texts) == 900


def test_a_hub_that_cannot_be_reached_is_said(hub: Path) -> None:
    values = params(BLOCKS[1])
    with pytest.raises(
        ConfigurationError,
        match=rf"Task pairs: data/train.parquet of the data set ORG/NAME at revision {REVISION} is neither in .*"
        "Next: where the hub can be reached, `hf download --repo-type dataset ORG/NAME",
    ):
        prepare_task("pairs", values.tasks["pairs"], values.prepare)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": {"revision": "main"}}, "`tasks.pairs.source.revision`: String should match pattern"),
        ({"source": {"rev": "x"}}, "unknown key `tasks.pairs.source.rev`; expected one of hub, revision, sha256, test"),
        ({"source": {"test": "data/train.parquet"}}, "test names the file of train, 'data/train.parquet'"),
        (
            {"format": {"columns": ["a"]}},
            "unknown key `tasks.pairs.format.columns`; expected one of kind, label",
        ),
        ({"format": {"kind": "xml"}}, "`tasks.pairs.format`: a format needs a kind, one of csv, tsv, orange, jsonl"),
        ({"labels": {"0": " 0 again"}}, "labels name '0' more than once"),
        ({"labels": {0.5: " half"}}, "`tasks.pairs.labels.0.5.[key]`: Input should be a valid string"),
    ],
)
def test_a_task_that_cannot_be_meant_is_refused(change: dict[str, dict[Any, Any]], sentence: str) -> None:
    values = merged(BLOCKS[1])
    for section, entries in change.items():
        values["tasks"]["pairs"][section] |= entries
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        parse_params(values, "test")


def test_labels_may_be_numbers_and_truth_values() -> None:
    block = yaml.safe_dump({"tasks": {"t": {**merged(BLOCKS[1])["tasks"]["pairs"], "labels": {-1: "a", True: "b"}}}})
    assert params(block).tasks["t"].labels == {"-1": "a", "true": "b"}
