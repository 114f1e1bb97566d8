"""`latentwire estimate`: which stages will run, and how long they took here before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.lock import make_lock

from latentwire import machine_speed
from latentwire.estimate import estimate_pipeline, foresee_seconds, say_estimate, waiting_stages
from latentwire.result_code import STAGES, result_code_text
from latentwire.stage_times import (
    FOLDER,
    PUBLISHED,
    PublishedTimes,
    StageTime,
    begin_stage,
    end_stage,
    keep_stage_time,
    read_stage_times,
    seconds_of,
    write_published_times,
)
from latentwire.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
DVC = [sys.executable, "-m", "dvc"]
PIPELINE = """
stages:
  first: {cmd: cp one two, deps: [one], outs: [two]}
  second: {cmd: cp two three, deps: [two], outs: [three]}
  other: {cmd: touch four, outs: [four]}
"""


pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of DVC's own dependencies


def call(root: Path, *command: str) -> None:
    subprocess.run(command, cwd=root, check=True)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("new") / "repository"
    root.mkdir()
    call(root, "git", "init", "-q")
    call(root, *DVC, "init", "-q")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "one").write_text("1")
    return root


@pytest.fixture
def repository(new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
    return shutil.copytree(new, root)


def test_what_was_made_from_a_change_waits_too(repository: Path) -> None:
    assert waiting_stages(repository) == ["first", "other", "second"]
    call(repository, *DVC, "repro", "-q")
    assert waiting_stages(repository) == []
    (repository / "one").write_text("2")
    assert waiting_stages(repository) == ["first", "second"]


def test_what_dvc_repro_leaves_alone_does_not_wait(repository: Path) -> None:
    call(repository, *DVC, "repro", "-q")
    (repository / "data").write_text("x")
    call(repository, *DVC, "add", "-q", "data")  # a stage without a name, which no stage of dvc.yaml reads
    (repository / "data").unlink()
    assert waiting_stages(repository) == []
    call(repository, *DVC, "freeze", "-q", "second")
    (repository / "one").write_text("2")
    assert waiting_stages(repository) == ["first"]


def test_other_words_in_the_code_wait_for_one_stage(repository: Path) -> None:
    """The stage `code` runs after any edit; what it writes says which stages have other code."""
    module = repository / "src/latentwire/stages"
    module.mkdir(parents=True)
    for name in STAGES:
        (module / f"{name}.py").write_text("x = 1\n")
    paths = {name: f"results/code/{name}.json" for name in STAGES}
    stages = {name: {"cmd": f"touch {name}", "deps": [path], "outs": [name]} for name, path in paths.items()}
    stages["code"] = {"cmd": "echo", "deps": ["src"], "outs": [{path: {"persist": True}} for path in paths.values()]}
    (repository / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    (repository / "results/code").mkdir(parents=True)
    for name, path in paths.items():
        (repository / path).write_bytes(result_code_text(name, repository))
    call(repository, *DVC, "repro", "-q")
    assert waiting_stages(repository) == []
    (module / "train.py").write_text("x = 1  # a word\n")
    assert waiting_stages(repository) == ["code"]
    (module / "train.py").write_text("x = 2\n")
    assert waiting_stages(repository) == ["code", "train"]


def _break(name: str, content: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)

    return write


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_break("dvc.yaml", "stages: ["), "dvc.yaml', YAML file structure is corrupted"),
        (_break("dvc.yaml", "stages: {a: {cmd: 'echo ${b}'}}"), "Could not find 'b'"),
        (_break("sub/dvc.yaml", "stages: ["), "sub/dvc.yaml', YAML file structure is corrupted"),
        (_break("dvc.lock", "half a li"), "dvc.lock'"),
        (_break("site", ""), "Not a directory"),
        (lambda root: (root / ".git").rename(root / "g"), "is not a git repository"),
        (lambda root: (root / ".dvc").rename(root / "d"), "not inside of a DVC repository"),
        (lambda root: (root / "dvc.yaml").unlink(), "dvc.yaml' does not exist"),
    ],
)
def test_where_dvc_does_not_say_it_is_a_sentence(damage: Callable[[Path], object], said: str, repository: Path) -> None:
    damage(repository)
    sentence = estimate_pipeline(repository)
    assert sentence.startswith("note: How many stages will run is not known: ")
    assert said in sentence
    assert sentence.endswith("Next: `dvc repro` tries all the same.")


def test_where_dvc_does_not_read_the_parameters_it_says_what_is_wrong_with_them(repository: Path) -> None:
    """DVC would name the place in dvc.yaml at which it failed."""
    shutil.copy(ROOT / "dvc.yaml", repository)
    values = read_yaml(ROOT / "params.yaml")
    del values["train"]["ablations"]
    (repository / "params.yaml").write_text(json.dumps(values))
    sentence = estimate_pipeline(repository)
    assert "`train.ablations` is missing, expected a section with methods, seeds. Next: " in sentence
    assert sentence.count("Next: ") == 1
    assert "failed to parse" not in sentence


def test_while_another_dvc_works_it_is_a_sentence_and_no_error(repository: Path) -> None:
    shutil.copy(ROOT / "params.yaml", repository)
    with make_lock(str(repository / ".dvc/tmp/lock")):
        done = subprocess.run(
            [Path(sys.executable).with_name("latentwire"), "estimate"], cwd=repository, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert "not known: Unable to acquire lock" in done.stdout


def test_times_are_kept_by_the_name_of_the_stage(tmp_path: Path) -> None:
    for seconds in (3.0, 4.26):
        keep_stage_time(tmp_path, "train@wire-r8-permuted-0", StageTime(seconds, 2 * seconds))
    keep_stage_time(tmp_path, "prepare", StageTime(1.0, 0.9))
    numbers = ["NaN", "1" + 400 * "0", "-3", "1e300", '"x"', "null", 3000 * "[" + 3000 * "]"]
    contents = ["half a numb", "3.5", "[]", "{}", *(f'{{"seconds": {n}, "processor_seconds": 1}}' for n in numbers)]
    for number, content in enumerate(contents):
        (tmp_path / FOLDER / f"damaged-{number}.json").write_text(content)
    expected = {"prepare": StageTime(1.0, 0.9), "train@wire-r8-permuted-0": StageTime(4.3, 8.5)}
    assert read_stage_times(tmp_path) == expected


def test_a_stage_that_never_ran_here_takes_as_long_as_its_kind() -> None:
    times = {"prepare": 10.0, "train@a": 100.0, "train@b": 140.0}
    assert seconds_of("train@b", times) == 140.0
    assert seconds_of("train@new", times) == 120.0
    assert seconds_of("report", times) is None


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([], "Nothing has changed"),
        (["train@a"], "1 stage will run, in about 5 min, by what it took here before"),
        (["train@c"], "1 stage will run, in about 5 min, by what others of its kind took here before"),
        (["train@a", "train@c"], "in about 10 min, by what they, or others of their kind, took here before"),
        (
            ["train@a", "train@c", "prepare"],
            "Up to 3 stages will run, 2 of them in about 10 min, the others for the first",
        ),
        (["prepare", "report"], "Up to 2 stages will run, for the first time here, so that nothing says how long"),
    ],
)
def test_the_sentence(stages: list[str], said: str, tmp_path: Path) -> None:
    keep_stage_time(tmp_path, "train@a", StageTime(300.0, 600.0))
    assert said in say_estimate(stages, tmp_path)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Times of another machine, half as fast as this one, which has two cores."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    stages = {"prepare": 120.0, "train@wire-r8-0": 960.0, "evaluate@wire-r8-0": 240.0}
    stages |= {"baseline@r8": 720.0, "encode@r8": 60.0}
    write_published_times(tmp_path, PublishedTimes(8, 0.4, {s: StageTime(9.0, cpu) for s, cpu in stages.items()}))
    monkeypatch.setattr("latentwire.estimate.probe_seconds", lambda kernels: {"portable": 0.2}[kernels])
    for user in ("estimate", "training.process_count"):
        monkeypatch.setattr(f"latentwire.{user}.usable_cores", lambda: 2)
    return tmp_path


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (["prepare"], "1 stage will run, in about 1 min, from what it cost in the published run"),
        (["train@wire-r8-1"], "in about 4 min"),
        (["train_ablation@wire_1-r8-0"], "in about 4 min"),
        (["evaluate@wire-r8-0", "prepare", "train@wire-r8-0"], "in about 6 min, from what they cost"),
        (["prepare", "report"], "for the first time here, so that nothing says how long"),
    ],
)
def test_a_first_run_costs_what_the_published_one_did(stages: list[str], said: str, published: Path) -> None:
    """By the speed and the cores of this machine; of a stage that nobody timed nothing is said."""
    assert said in say_estimate(stages, published)


def test_what_ran_here_counts_as_it_took_here(published: Path) -> None:
    keep_stage_time(published, "train@wire-r8-0", StageTime(1800.0, 3600.0))
    assert "in about 31 min" in say_estimate(["train@wire-r8-0", "prepare"], published)


CHANGES = [
    ("train", {"steps": 32}, "train@wire-r8-0", 1 / 2),
    ("train", {"batch": 32}, "train@wire-r8-1", 2),
    ("train", {"steps": 16, "batch": 64}, "train_ablation@wire_1-r8-0", 1),
    ("prepare", {"limits": {"train": 2048, "validation": 200, "test": 1500}}, "evaluate@wire-r8-0", 3),
    ("prepare", {"limits": {"train": 2048, "validation": 200, "test": 250}}, "baseline@r8", 1 / 2),
    ("prepare", {"limits": {"train": 4596, "validation": 400, "test": 500}}, "encode@r8", 2),
    ("train", {"steps": 32}, "evaluate@wire-r8-0", 1),
    ("train", {"steps": 32}, "prepare", 1),
]
"""A section, keys of it with other values than those that were published, a stage, and how much longer it takes."""


def change(root: Path, section: str, keys: dict[str, object]) -> None:
    values = read_yaml(root / "params.yaml")
    values[section] |= keys
    (root / "params.yaml").write_text(json.dumps(values))


def commit_all(root: Path) -> None:
    call(root, "git", "init", "-q")
    call(root, "git", "add", ".")
    call(root, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "published")


@pytest.mark.parametrize(("section", "keys", "stage", "ratio"), CHANGES)
@pytest.mark.parametrize("in_git", [True, False])
def test_more_steps_and_texts_than_were_published_take_longer(
    section: str, keys: dict[str, object], stage: str, ratio: float, in_git: bool, published: Path
) -> None:
    before = foresee_seconds([stage], published)
    shutil.copy(ROOT / "dvc.lock", published)
    assert foresee_seconds([stage], published) == before
    if in_git:
        commit_all(published)
        (published / "dvc.lock").unlink()  # what ran here since may have other parameters
    change(published, section, keys)
    assert before is not None
    assert foresee_seconds([stage], published) == pytest.approx(before * ratio)


@pytest.mark.parametrize(("section", "keys", "stage", "ratio"), CHANGES)
def test_so_do_more_than_there_were_here(
    section: str, keys: dict[str, object], stage: str, ratio: float, tmp_path: Path
) -> None:
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, tmp_path)
    keep_stage_time(tmp_path, stage, StageTime(600.0, 1200.0))
    change(tmp_path, section, keys)
    assert f"in about {round(10 * ratio)} min, by what it took here before" in say_estimate([stage], tmp_path)


@pytest.mark.parametrize("damage", ["{", "{}", "stages: {train@wire-r8-0: {}, prepare: {params: {a: {prepare: 1}}}}"])
def test_a_lock_that_does_not_say_the_parameters_changes_no_time(damage: str, published: Path) -> None:
    before = foresee_seconds(["train@wire-r8-0", "evaluate@wire-r8-0"], published)
    (published / "dvc.lock").write_text(damage)
    change(published, "train", {"steps": 32})
    assert foresee_seconds(["train@wire-r8-0", "evaluate@wire-r8-0"], published) == before
    commit_all(published)
    assert foresee_seconds(["train@wire-r8-0", "evaluate@wire-r8-0"], published) == before


def test_more_cores_are_used_as_far_as_there_is_work_for_them(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("estimate", "training.process_count"):
        monkeypatch.setattr(f"latentwire.{user}.usable_cores", lambda: 64)
    assert foresee_seconds(["train@wire-r8-0"], published) == pytest.approx(960 / 2 / 8)  # train.shards
    assert foresee_seconds(["evaluate@wire-r8-0"], published) == pytest.approx(240 / 2 / 2)  # runtime.threads
    assert foresee_seconds(["prepare"], published) == pytest.approx(60)


def test_processes_that_are_set_are_those_that_train(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWIRE_PROCESSES", "1")
    assert foresee_seconds(["train@wire-r8-0"], published) == pytest.approx(960 / 2)


def test_the_time_of_what_went_on_after_a_stop_is_not_that_of_the_whole(tmp_path: Path) -> None:
    whole, rest = StageTime(100.0, 200.0), StageTime(5.0, 10.0)
    assert begin_stage(tmp_path, "train@a")
    end_stage(tmp_path, "train@a", whole)
    assert begin_stage(tmp_path, "train@a")  # and is killed
    assert not begin_stage(tmp_path, "train@a")
    end_stage(tmp_path, "train@a", None)
    assert read_stage_times(tmp_path) == {"train@a": whole}
    assert begin_stage(tmp_path, "train@a")
    end_stage(tmp_path, "train@a", rest)
    assert read_stage_times(tmp_path) == {"train@a": rest}


@pytest.mark.parametrize(
    ("stage", "whole"), [("aggregate", True), ("baseline@r8", True), ("prepare", False), ("train_ablation@a", False)]
)
def test_only_what_goes_on_from_a_stop_is_not_timed_after_one(stage: str, whole: bool, tmp_path: Path) -> None:
    assert begin_stage(tmp_path, stage)  # and it fails
    assert begin_stage(tmp_path, stage) == whole


@pytest.mark.parametrize("damage", ["{", "{}", '{"cores": 2, "probe_seconds": 0, "stages": {}}', "[]", "null"])
def test_published_times_that_cannot_be_read_say_nothing(damage: str, published: Path) -> None:
    (published / PUBLISHED).write_text(damage)
    assert foresee_seconds(["prepare"], published) is None
    assert "nothing says how long" in say_estimate(["prepare"], published)


def test_of_a_gpu_the_time_of_processors_says_nothing(published: Path) -> None:
    text = (published / "params.yaml").read_text()
    text = text.replace("device: cpu", "device: cuda").replace("numerics: portable", "numerics: native")
    (published / "params.yaml").write_text(text)
    assert foresee_seconds(["prepare"], published) is None


def test_the_probe_takes_longer_the_more_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a slower machine would show; the least of the rounds, so that a busy one does not."""
    once = machine_speed.probe_seconds("portable")
    monkeypatch.setattr(machine_speed, "PASSES", 8 * machine_speed.PASSES)
    assert machine_speed.probe_seconds("portable") > 3 * once


def test_a_stage_keeps_its_time_unless_it_went_on_from_an_earlier_start(tmp_path: Path) -> None:
    program = "import sys; from latentwire.exits import run_stage; run_stage(lambda _: sys.exit(int(sys.argv[1])))"
    environment = {**os.environ, "DVC_STAGE": "train@a"}
    kept = []
    for code in (75, 0, 0):
        done = subprocess.run([sys.executable, "-c", program, str(code)], cwd=tmp_path, env=environment)
        assert done.returncode == code
        kept.append("train@a" in read_stage_times(tmp_path))
    assert kept == [False, False, True]
    assert 0 < read_stage_times(tmp_path)["train@a"].processor_seconds < 60
