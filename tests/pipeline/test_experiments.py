"""`python -m tools.experiments` on tiny models: real stages, in a clone, once, and never the test split."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file, save_file

from latentwire.models.features import FILE, INDEX
from tests.support import workspace
from tests.support.published_results import git
from tests.support.workspace import Workspace

COMMAND = (sys.executable, "-m", "tools.experiments")
PLAN = {
    "base": {"train.validate.every": 15},
    "method": "wire",
    "tasks": ["tiny"],
    "seeds": [0],
    "experiments": {
        "default": {"asks": "What is published.", "set": {}},
        "slow": {"asks": "Does it help to learn slowly?", "set": {"train.lr": 0.0001}},
    },
}


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A repository in which the experiments were stopped in the middle of a training, and run again."""
    place = workspace.make(tmp_path_factory.mktemp("experiments") / "repo")
    shutil.copytree(workspace.ROOT / "tools", place.root / "tools")
    (place.root / "experiments").mkdir()
    (place.root / "experiments/experiments.yaml").write_text(yaml.safe_dump(PLAN))
    (place.root / "docs").mkdir()
    git(place.root, "add", "-A")
    git(place.root, "commit", "-q", "-m", "experiments")
    kill_in_training(place)
    place.run(*COMMAND, limit=900)
    return place


def kill_in_training(place: Workspace) -> None:
    process = place.start(*COMMAND, UNBROKEN_INTERRUPT="KILL@20")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 1, output
    assert "the same command goes on from there" in output


def stored(place: Workspace, name: str) -> dict[str, Any]:
    return json.loads((place.root / f"experiments/results/{name}.json").read_text())


def test_each_is_stored_with_what_it_was_and_what_came_out(tried: Workspace) -> None:
    default, slow = (stored(tried, f"{name}-tiny-0") for name in PLAN["experiments"])
    assert default["overrides"] == PLAN["base"]
    assert slow["overrides"] == {"train.validate.every": 15, "train.lr": 0.0001}
    assert (default["params"]["train"]["lr"], slow["params"]["train"]["lr"]) == (0.01, 0.0001)
    for facts in (default, slow):
        assert [line["step"] for line in facts["validations"]] == [15, 30]
        assert set(facts["answers"]) == {"llama", "gemma", "probe", "scaled/llama", "scaled/gemma"}
        last = facts["validations"][-1]
        for who in ("llama", "gemma"):
            right = [a == b for a, b in zip(facts["answers"][who], facts["golds"], strict=True)]
            assert sum(right) / len(right) == last[f"accuracy/{who}"]
    assert default["answers"] != slow["answers"]
    assert (default["starts"], default["cpu_s"]) == (2, None), "the one that was killed went on from its checkpoint"
    assert slow["starts"] == 1
    assert slow["cpu_s"] > 0
    assert set(stored(tried, "without-wire-tiny")["answers"]) >= {"majority", "probe", "readout/llama"}


def test_nothing_else_of_the_checkout_changed(tried: Workspace) -> None:
    changed = git(tried.root, "status", "--porcelain", "--untracked-files=all").splitlines()
    results = [f"?? experiments/results/{name}.json" for name in ("default-tiny-0", "slow-tiny-0", "without-wire-tiny")]
    assert changed == ["?? docs/experiments.md", *results]
    assert not (tried.root / "state").exists()
    assert not (tried.root / "mlflow.db").exists()


def test_what_is_stored_is_not_computed_again(tried: Workspace) -> None:
    page = (tried.root / "docs/experiments.md").read_bytes()
    output = tried.run(*COMMAND, limit=900)
    assert "experiment 1 of" not in output
    assert (tried.root / "docs/experiments.md").read_bytes() == page
    assert b"| slow | Does it help to learn slowly? |" in page


def test_without_a_test_split_the_same_comes_out(tried: Workspace, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(tried.root / ".cache/experiments/clone", clone, symlinks=True)
    remove_test_split(clone)
    place = Workspace(clone)
    measure = (sys.executable, "-m", "tools.experiments.measure", "--task", "tiny", "--out", "measured.json")
    for arguments, name in ((("--method", "wire"), "slow-tiny-0"), ((), "without-wire-tiny")):
        place.run(*measure, *arguments)
        measured = json.loads((clone / "measured.json").read_text())
        measured.pop("params", None)  # those of the clone, where the last command had others
        assert measured == {key: value for key, value in stored(tried, name).items() if key in measured}


def remove_test_split(root: Path) -> None:
    """Nobody can open it afterwards."""
    examples = root / "results/prepare/tiny/examples.parquet"
    table = pq.read_table(examples)
    kept = table.filter(pc.not_equal(table["split"], "test"))
    assert 0 < len(kept) < len(table)
    pq.write_table(kept, examples)
    features, index = (root / "results/encode/tiny" / name for name in (FILE, INDEX))
    tensors = {name: value for name, value in load_file(features).items() if not name.startswith("test.")}
    save_file(tensors, features)
    described = json.loads(index.read_text())
    del described["example_ids"]["test"]
    index.write_text(json.dumps(described))
