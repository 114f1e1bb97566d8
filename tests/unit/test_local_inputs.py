"""Local files that params.yaml names are deps in dvc.yaml, however they are written, or refused in a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.dvc_files import _named_keys, check_named_keys, list_inputs
from latentwire.errors import ConfigurationError
from latentwire.local_inputs import ALWAYS, check_local_inputs
from latentwire.params.load import load_any_params, load_params
from latentwire.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]


class Repository:
    """The real dvc.yaml beside parameters whose task, and one model, are on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir(parents=True)
        (root / "data/a.csv").write_text("text,label\n")
        shutil.copy(ROOT / "dvc.yaml", root)
        shutil.copy(ROOT / "assets.lock", root)

    def name(self, local: str, train: str, test: str | None = None, model: str | None = None) -> None:
        """Write params.yaml."""
        values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
        values["tasks"]["r8"]["source"] = {"local": local, "train": train, "test": test}
        if model is not None:
            values["models"]["gemma3"] = {"local": model}
        (self.root / "params.yaml").write_text(yaml.safe_dump(values))

    @property
    def listed(self) -> list[str]:
        """The deps of `prepare` beyond those that it always has."""
        deps = yaml.safe_load((self.root / "dvc.yaml").read_text())["stages"]["prepare"]["deps"]
        assert deps[: len(ALWAYS)] == list(ALWAYS)
        return deps[len(ALWAYS) :]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def test_the_repository_itself_lists_what_its_parameters_name() -> None:
    before = (ROOT / "dvc.yaml").read_bytes()
    assert list_inputs(ROOT) == []
    assert (ROOT / "dvc.yaml").read_bytes() == before
    check_local_inputs(load_params(ROOT / "params.yaml"), ROOT)


def test_a_list_is_written_in_place_and_taken_back(repository: Repository) -> None:
    whole = (repository.root / "dvc.yaml").read_bytes()
    repository.name("data", "a.csv")
    assert "now has data/a.csv" in list_inputs(repository.root)[0]
    lines = zip(whole.splitlines(), (repository.root / "dvc.yaml").read_bytes().splitlines(), strict=True)
    changed = [after.decode() for before, after in lines if before != after]
    assert changed == ["    deps: [results/code/prepare.json, assets.lock, data/a.csv]"]
    assert list_inputs(repository.root) == []
    shutil.copy(ROOT / "params.yaml", repository.root)
    assert "no longer has data/a.csv" in list_inputs(repository.root)[0]
    assert (repository.root / "dvc.yaml").read_bytes() == whole


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("data", "data/a.csv"),
        ("./data/", "data/a.csv"),
        ("data/../data", "data/a.csv"),
        ("{root}/data", "data/a.csv"),
        ("{root}/../repo/data", "data/a.csv"),
        ("..data", "..data/a.csv"),
        ("../elsewhere", "../elsewhere/a.csv"),
        ("{elsewhere}", "{elsewhere}/a.csv"),
        ("~", "{elsewhere}/a.csv"),
        ("link/..", "../elsewhere/a.csv"),
        ("s3:x", "./s3:x/a.csv"),
        ("with ${braces}, [and] # signs: 数", r"./with \${braces}, [and] # signs: 数/a.csv"),
        ("数 # 'x'", "数 # 'x'/a.csv"),
    ],
)
def test_every_way_to_name_a_file(
    local: str, expected: str, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = repository.root.parent / "elsewhere"
    (elsewhere / "inner").mkdir(parents=True)
    (repository.root / "link").symlink_to(elsewhere / "inner")
    monkeypatch.setenv("HOME", str(elsewhere))
    places = {"{root}": str(repository.root), "{elsewhere}": str(elsewhere)}
    for word, place in places.items():
        local, expected = local.replace(word, place), expected.replace(word, place)
    folder = repository.root / Path(local).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.csv").touch()
    repository.name(local, "a.csv")
    with pytest.raises(ConfigurationError, match=r"dvc.yaml does not list .*a.csv.* Next: .*latentwire.dvc_files"):
        check_local_inputs(load_params(repository.root / "params.yaml"), repository.root)
    list_inputs(repository.root)
    assert repository.listed == [expected]
    check_local_inputs(load_params(repository.root / "params.yaml"), repository.root)


def test_files_of_tasks_and_models_in_use_each_once(repository: Repository) -> None:
    (repository.root / "model").mkdir()
    repository.name("data", "a.csv", "../data/a.csv", model="model")
    list_inputs(repository.root)
    assert repository.listed == ["data/a.csv", "model"]
    values = yaml.safe_load((repository.root / "params.yaml").read_text())
    values["prepare"]["tasks"] = ["rotten_tomatoes"]
    (repository.root / "params.yaml").write_text(yaml.safe_dump(values))
    list_inputs(repository.root)
    assert repository.listed == ["model"]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"train": "b.csv"}, r"No data/b.csv, which tasks.r8.source in params.yaml names; .* Next: put it there"),
        ({"train": "."}, r"No data, which tasks.r8.source"),
        ({"train": "a.csv", "model": "nowhere"}, r"No nowhere, which models.gemma3.local"),
        ({"train": "a.csv", "model": "."}, r"models.gemma3.local in params.yaml names ., which holds this repository"),
        ({"train": "a.csv", "model": "~nobody here/m"}, r"nobody of that name has a home folder here; .* ./~nobody"),
        ({"train": "a.csv", "model": ".."}, r"names .., which holds this repository"),
        ({"train": "a.csv", "model": "state/m"}, r"DVC would not see a change of .*state/m/w, because a .dvcignore"),
    ],
)
def test_what_dvc_could_not_watch_is_refused(named: dict[str, str], sentence: str, repository: Repository) -> None:
    (repository.root / "state/m").mkdir(parents=True)
    (repository.root / "state/m/w").touch()
    shutil.copy(ROOT / ".dvcignore", repository.root)
    repository.name("data", **named)
    with pytest.raises(ConfigurationError, match=sentence):
        list_inputs(repository.root)


@pytest.mark.parametrize("left", ["stages: {}\n", "stages: {prepare: {cmd: x}}\n", "- 1\n"])
def test_a_pipeline_without_the_stage_is_a_sentence(left: str, repository: Repository) -> None:
    repository.name("data", "a.csv")
    (repository.root / "dvc.yaml").write_text(left)
    with pytest.raises(ConfigurationError, match=r"has no stage prepare with deps"):
        list_inputs(repository.root)


def test_where_there_is_no_pipeline_nothing_is_refused(repository: Repository) -> None:
    repository.name("data", "a.csv")
    (repository.root / "dvc.yaml").unlink()
    assert list_inputs(repository.root) == []
    check_local_inputs(load_params(repository.root / "params.yaml"), repository.root)


def test_a_job_leaves_the_pipeline_of_its_commit(repository: Repository) -> None:
    repository.name("data", "a.csv")
    command = [sys.executable, "-m", "latentwire.dvc_files"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([*command, "--mend-only"], cwd=repository.root, env=variables, check=True)
    assert repository.listed == []
    done = subprocess.run(command, cwd=repository.root, env=variables, check=True, capture_output=True, text=True)
    assert "note: dvc.yaml, deps of prepare: now has data/a.csv" in done.stdout
    assert repository.listed == ["data/a.csv"]


def test_every_key_that_dvc_yaml_names_is_there() -> None:
    """DVC's own error names the place in dvc.yaml, and not what to write."""
    named = {key for _, key, _ in _named_keys(read_yaml(ROOT / "dvc.yaml"))}
    assert {"prepare.tasks", "train.ablations.methods", "train.ablations.seeds", "train.balance", "report"} <= named
    assert not [key for key in named if key.startswith("item")]


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ({"matrix": {"a": "${train.ablations.kinds}"}, "cmd": "x"}, "`train.ablations.kinds`, which dvc.yaml names in"),
        (
            {"matrix": {"a": "${train.ablations.kinds}"}, "cmd": "x"},
            r"expected a list, \[\] for none: DVC starts",
        ),
        ({"cmd": "x ${train.seeds[9]}"}, "params.yaml has no `train.seeds.9`, which dvc.yaml names in the stage s"),
        (
            {"cmd": "x", "params": ["runtime", "train.balance"]},
            "has no `train.balance`, .* expected 0.0, its default",
        ),
        ({"cmd": "x ${train.seeds[0]} ${item} ${key.a} \\${nosuch}", "params": [{"other.yaml": ["b"]}]}, None),
        ({"cmd": "x ${nosuch}", "vars": [{"nosuch": 1}]}, None),
        ("x", None),
    ],
)
def test_one_that_is_not_is_named_with_what_to_write(pipeline: object, said: str | None, tmp_path: Path) -> None:
    written = read_yaml(ROOT / "params.yaml")
    del written["train"]["balance"]
    (tmp_path / "params.yaml").write_text(json.dumps(written))
    (tmp_path / "dvc.yaml").write_text(json.dumps({"vars": ["params.yaml"], "stages": {"s": pipeline}}))
    values = load_any_params(tmp_path / "params.yaml")
    with pytest.raises(ConfigurationError, match=said) if said else contextlib.nullcontext():
        check_named_keys(values, tmp_path)


def test_what_dvc_yaml_names_is_checked_before_dvc_starts(repository: Repository) -> None:
    repository.name("data", "a.csv")
    content = read_yaml(repository.root / "dvc.yaml")
    content["stages"]["other"] = {"cmd": "x ${nosuch.key}"}
    (repository.root / "dvc.yaml").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"no `nosuch\.key`.* Next: write it, or take what names it out of"):
        list_inputs(repository.root)
