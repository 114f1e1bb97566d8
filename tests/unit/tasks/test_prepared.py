"""A task from its source to `results/prepare/`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from latentwire.assets import Assets
from latentwire.errors import ConfigurationError
from latentwire.params import sections
from latentwire.params.load import load_params
from latentwire.params.sections import Prepare, Task
from latentwire.rehearsal.tiny import CUES, tiny_task
from latentwire.tasks.examples import digest_examples, read_examples
from latentwire.tasks.loading import prepare_task, write_task
from tests.support.tiny_files import tiny_wheel

ROOT = Path(__file__).parents[3]
PREPARE = Prepare.model_validate(
    {
        "tasks": ["tiny"],
        "fractions": {"validation": 0.1, "test": 0.2},
        "limits": {"train": 100, "validation": 10, "test": 30},
    }
)


@pytest.fixture
def entry(tmp_path: Path) -> dict[str, Any]:
    return tiny_task(tmp_path / "data")


def changed(entry: dict[str, Any], **source: str) -> Task:
    return Task.model_validate({**entry, "source": {**entry["source"], **source}})


def test_a_local_file_becomes_splits_with_their_description(entry: dict[str, Any], tmp_path: Path) -> None:
    prepared = prepare_task("tiny", changed(entry), PREPARE)
    write_task(prepared, tmp_path / "out")
    examples = read_examples(tmp_path / "out/examples.parquet")
    described = json.loads((tmp_path / "out/task.json").read_text())
    assert Counter(e.split for e in examples) == {"train": 100, "validation": 10, "test": 30}
    assert described["counts"] == {
        part: {label: sum((e.split, e.label) == (part, label) for e in examples) for label in CUES}
        for part in ("train", "validation", "test")
    }
    assert described["digest"] == digest_examples(examples)
    assert described["source_sha256"] == hashlib.sha256((tmp_path / "data/tiny.csv").read_bytes()).hexdigest()
    assert described["dropped"] == {"empty": 0, "duplicates": 0, "conflicting": 0, "in_both_splits": 0}
    assert all(set(e.text[:-1].split()) & set(CUES[e.label]) for e in examples)


def test_the_bytes_do_not_depend_on_where_and_how_often(entry: dict[str, Any], tmp_path: Path) -> None:
    write_task(prepare_task("tiny", changed(entry), PREPARE), tmp_path / "one")
    elsewhere = tiny_task(tmp_path / "other/place")
    write_task(prepare_task("other_name", changed(elsewhere), PREPARE), tmp_path / "two")
    for name in ("examples.parquet", "task.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_wheel_and_a_local_folder_give_the_same_examples(entry: dict[str, Any], tmp_path: Path) -> None:
    data = (tmp_path / "data/tiny.csv").read_bytes()
    lock = tmp_path / "assets.lock"
    lock.write_text(tiny_wheel(tmp_path / "assets", "tiny-data", "1.0", {"tiny_data/tiny.csv": data}))
    source = {"package": "tiny-data", "train": "tiny_data/tiny.csv", "sha256": hashlib.sha256(data).hexdigest()}
    packaged = prepare_task(
        "tiny", Task.model_validate({**entry, "source": source}), PREPARE, Assets(tmp_path / "assets", lock)
    )
    assert packaged == prepare_task("tiny", changed(entry), PREPARE)


def test_a_separate_test_file_is_hashed_after_the_train_file(entry: dict[str, Any], tmp_path: Path) -> None:
    whole = (tmp_path / "data/tiny.csv").read_text().splitlines(keepends=True)
    (tmp_path / "data/test.csv").write_text("".join(whole[:1] + whole[151:] + whole[1:4]))
    (tmp_path / "data/tiny.csv").write_text("".join(whole[:151]))
    both = (tmp_path / "data/tiny.csv").read_bytes() + (tmp_path / "data/test.csv").read_bytes()
    task = changed(entry, test="test.csv", sha256=hashlib.sha256(both).hexdigest())
    prepared = prepare_task(
        "tiny", task, PREPARE.model_copy(update={"limits": sections.Limits(train=999, validation=999, test=999)})
    )
    assert sum(prepared.counts["test"].values()) == 50
    assert sum(prepared.counts["train"].values()) + sum(prepared.counts["validation"].values()) == 147
    assert prepared.dropped.in_both_splits == 3


def test_changed_data_are_refused_with_both_hashes(entry: dict[str, Any], tmp_path: Path) -> None:
    pinned = hashlib.sha256((tmp_path / "data/tiny.csv").read_bytes()).hexdigest()
    prepare_task("tiny", changed(entry, sha256=pinned), PREPARE)
    with (tmp_path / "data/tiny.csv").open("a") as stream:
        stream.write("one more night.,dark\n")
    found = hashlib.sha256((tmp_path / "data/tiny.csv").read_bytes()).hexdigest()
    with pytest.raises(
        ConfigurationError, match=rf"task tiny .* have SHA-256 {found}; tasks.tiny.source.sha256 .* pins {pinned}"
    ):
        prepare_task("tiny", changed(entry, sha256=pinned), PREPARE)


def test_a_missing_file_is_said(entry: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"No data file .*gone.csv for task tiny. Next: put it there"):
        prepare_task("tiny", changed(entry, train="gone.csv"), PREPARE)


def test_a_label_that_never_occurs_in_the_test_split_is_refused(entry: dict[str, Any]) -> None:
    task = Task.model_validate({**entry, "labels": {**entry["labels"], "grey": " grey"}})
    with pytest.raises(ConfigurationError, match="has none of 'grey'"):
        prepare_task("tiny", task, PREPARE)


@pytest.mark.assets
@pytest.mark.parametrize(("task", "shared"), [("rotten_tomatoes", 0), ("r8", 4)])
def test_the_real_tasks_are_what_the_parameters_pin(task: str, shared: int) -> None:
    if not (ROOT / "assets").is_dir():
        pytest.skip("no assets/ here: `make setup` fetches the wheels")
    values = load_params(ROOT / "params.yaml")
    prepared = prepare_task(task, values.tasks[task], values.prepare, Assets(ROOT / "assets", ROOT / "assets.lock"))
    sizes = {part: sum(labels.values()) for part, labels in prepared.counts.items()}
    assert sizes == values.prepare.limits.model_dump()
    assert min(prepared.counts["test"].values()) > 0
    assert prepared.dropped.in_both_splits == shared
