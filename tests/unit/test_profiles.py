"""Profiles: which there are, what is refused, and the clone in which the pipeline runs with one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.cli import run
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.item import TrainItem
from latentwire.params.load import Params, load_params, parse_params
from latentwire.params.overrides import list_profiles, read_profile
from latentwire.params.sources import HubFiles, HubModel
from latentwire.statistics.grid import expected_grid
from latentwire.yaml_files import read_yaml
from tools.profiles import FOLDER, open_profile

ROOT = Path(__file__).parents[2]
GIT = ("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
RECORDED = "reports/provenance.json"


def profile(name: str) -> Params:
    return parse_params(read_profile(ROOT / "params.yaml", name), name)


@pytest.mark.parametrize("name", list_profiles(ROOT))
def test_a_profile_is_valid_and_every_method_of_it_is_trained_and_has_a_printed_name(name: str) -> None:
    values = profile(name)
    own = {key.split(".")[1] for key in read_yaml(ROOT / "profiles" / f"{name}.yaml") if key.startswith("methods.")}
    assert own <= set(values.train.all_methods)
    trained = {(item.method, item.task) for item in TrainItem.all(values)}
    assert trained == {(method, task) for method in values.train.all_methods for task in values.prepare.tasks}
    printed = {*values.train.all_methods, *values.prepare.tasks, *values.receivers, *values.baseline.methods}
    assert printed <= values.report.names.keys()
    assert [method.name for method in expected_grid(values).main_methods()] == list(values.train.methods)


@pytest.mark.parametrize("name", list_profiles(ROOT))
def test_what_is_written_for_the_clone_is_what_was_read(name: str, tmp_path: Path) -> None:
    values = read_profile(ROOT / "params.yaml", name)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    assert load_params(tmp_path / "params.yaml") == profile(name)


def test_the_full_profile_asks_what_its_page_says() -> None:
    values = profile("full")
    wires = {name: values.methods[name].sent_vectors for name in values.train.all_methods}
    assert {1, 2, 4, 8, 16} == {count for count in wires.values() if count is not None}
    assert {values.methods[name].kind for name in wires} == {"wire", "prompt_tuning", "lora"}
    assert {("smollm2",), ("gemma3",)} < {values.methods[name].receivers for name in wires}
    assert values.train.seeds == (0, 1, 2, 3, 4, "permuted-0")
    page = (ROOT / "docs/profiles.md").read_text(encoding="utf-8")
    assert [name for name in values.train.ablations.methods if f"`{name}`" not in page] == []
    assert f"{len(TrainItem.all(values))} trainings" in " ".join(page.split())


def test_the_paper_profile_takes_everything_from_a_hub_at_a_commit() -> None:
    values = profile("paper")
    sources = [*values.models.values(), *(task.source for task in values.tasks.values())]
    assert {type(source) for source in sources} == {HubModel, HubFiles}
    assert all(len(source.revision) == 40 for source in sources if isinstance(source, HubModel | HubFiles))
    assert set(values.tasks) == set(values.prepare.tasks)
    assert set(values.models) == set(values.frozen_models())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.stepps: 3", "unknown key `train.stepps` (did you mean `steps`?)"),
        ("trian.steps: 3", "profiles/small.yaml sets trian.steps, which params.yaml does not have"),
        ("stepps: 3", "profiles/small.yaml sets stepps, which params.yaml does not have"),
        ("train.steps: -3", "profiles/small.yaml: `train.steps`"),
        ("train.steps: 3\ntrain.steps: 4", "is not YAML 1.2"),
        ("[train.steps]", "profiles/small.yaml holds list, expected dotted keys"),
        ("", "profiles/small.yaml is empty, expected dotted keys"),
        ("# nothing\n", "profiles/small.yaml is empty, expected dotted keys"),
        ("aggregate.reference: probe\nbaseline.methods: [majority]", "small.yaml: aggregate.reference names 'probe'"),
        ("train: {steps: 2}", "`train` replaces the section as a whole, without methods, seeds, "),
        ("train: {steps: 2, lr: 0.1}", "; expected `train.steps: 2`, `train.lr: 0.1`, so that the others stay. Next: "),
        ("train.losses: {label_ce: 1.0}", "`train.losses` replaces the section as a whole, without "),
        ("train.losses: {}", "; expected dotted keys, so that the others stay. Next: "),
    ],
)
def test_what_is_no_profile_is_refused_in_a_sentence(text: str, said: str, root: Path) -> None:
    (root / "profiles/small.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        open_profile(root, "small")
    assert said in str(refused.value)
    assert "Next: " in str(refused.value)
    assert "the file" not in str(refused.value)
    assert "is missing" not in str(refused.value)
    assert not (root / FOLDER).exists()


@pytest.mark.parametrize("text", ["train.steps: -3", "train: {steps: 2}"])
def test_the_command_that_follows_checks_the_profile(text: str, root: Path) -> None:
    (root / "profiles/small.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"Next: mend it, then `latentwire params --profile small`\.$"):
        open_profile(root, "small")


@pytest.mark.parametrize("name", ["big", "../small", "", "small.yaml"])
def test_a_profile_that_is_not_there(name: str, root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No profile '.*expected one of those there: small\. Next: name one"):
        open_profile(root, name)


def test_params_shows_a_profile(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(["params", "--path", str(root / "params.yaml"), "--profile", "small"])
    assert "train.steps = 77" in capsys.readouterr().out
    (root / "profiles/small.yaml").write_text("train.steps: 1")
    with pytest.raises(SystemExit, match="2"):
        run(["params", "--path", str(root / "params.yaml"), "--profile", "small"])
    assert "profiles/small.yaml: `train`: warmup must be below steps" in capsys.readouterr().err


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with the real parameters and a profile that changes one, with published results and no pipeline."""
    folder = tmp_path / "it's a checkout"
    (folder / "profiles").mkdir(parents=True)
    for name in (".gitignore", "params.yaml", "Makefile", "assets.lock"):
        shutil.copy(ROOT / name, folder)
    (folder / "profiles/small.yaml").write_text("train.steps: 77\n")
    (folder / "code.py").write_text("old\n")
    (folder / RECORDED).parent.mkdir()
    (folder / RECORDED).write_text("published\n")
    (folder / "assets").mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run([*GIT, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "x")


def test_the_clone_has_the_parameters_as_a_commit_and_the_checkout_is_untouched(root: Path) -> None:
    clone = open_profile(root, "small")
    assert clone == root / FOLDER / "small"
    assert load_params(clone / "params.yaml").train.steps == 77
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "HEAD~1") == git(root, "rev-parse", "HEAD")
    assert not (clone / RECORDED).exists()
    assert (clone / "assets").samefile(root / "assets")
    assert git(root, "status", "--porcelain") == ""
    assert (root / RECORDED).read_text() == "published\n"


def test_a_clone_in_which_the_pipeline_runs_is_left_alone(root: Path) -> None:
    clone = open_profile(root, "small")
    (clone / ".dvc/tmp").mkdir(parents=True)
    owner = {"pid": os.getpid(), "cmd": "dvc repro"}
    (clone / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {"/a": owner}, "read": {}}))
    (root / "profiles/small.yaml").write_text("train.steps: 78\n")
    with pytest.raises(LatentWireError, match=f"Another DVC, process {os.getpid()} "):
        open_profile(root, "small")
    assert load_params(clone / "params.yaml").train.steps == 77


def test_what_was_computed_stays_when_the_checkout_goes_on(root: Path) -> None:
    clone = open_profile(root, "small")
    (clone / RECORDED).write_text("computed\n")
    (clone / "results").mkdir()
    (clone / "results/train").write_text("weights\n")
    head = git(clone, "rev-parse", "HEAD")
    assert open_profile(root, "small") == clone
    assert git(clone, "rev-parse", "HEAD") == head
    (root / "code.py").write_text("new\n")
    commit(root)
    open_profile(root, "small")
    assert (clone / "code.py").read_text() == "new\n"
    assert git(clone, "rev-parse", "HEAD~1") == git(root, "rev-parse", "HEAD")
    assert [(clone / name).read_text() for name in (RECORDED, "results/train")] == ["computed\n", "weights\n"]


def test_another_value_in_the_profile_reaches_the_clone(root: Path) -> None:
    clone = open_profile(root, "small")
    (root / "profiles/small.yaml").write_text("train.steps: 78\n")
    open_profile(root, "small")
    assert load_params(clone / "params.yaml").train.steps == 78
    assert git(clone, "rev-parse", "HEAD~1") == git(root, "rev-parse", "HEAD")


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("name", ["code.py", "params.yaml"])
def test_a_clone_that_somebody_edited_is_left_alone(name: str, committed: bool, root: Path) -> None:
    clone = open_profile(root, "small")
    with (clone / name).open("a") as file:
        file.write("# mine\n")
    if committed:
        commit(clone)
    with pytest.raises(ConfigurationError, match=rf"small was changed by hand.*: {name}; .*Next: move the change to "):
        open_profile(root, "small")
    assert (clone / name).read_text().endswith("# mine\n")


def test_a_clone_that_was_half_made_is_made_again(root: Path) -> None:
    clone = open_profile(root, "small")
    (clone / RECORDED).write_text("computed\n")
    (root / "code.py").write_text("new\n")
    commit(root)
    open_profile(root, "small")
    (clone / ".cache/profile-commit").unlink()  # as a kill leaves it between the checkout and the commit
    git(clone, "checkout", "-q", "--detach", "HEAD~1")
    (clone / "params.yaml").write_text("half")
    open_profile(root, "small")
    assert load_params(clone / "params.yaml").train.steps == 77
    assert (clone / RECORDED).read_text() == "computed\n"


def test_a_checkout_with_changes_is_refused(root: Path) -> None:
    (root / "code.py").write_text("mine\n")
    with pytest.raises(ConfigurationError, match=r"differs from it: code\.py; .*Next: `git commit` or `git restore`"):
        open_profile(root, "small")
    assert not (root / FOLDER).exists()


def test_a_profile_and_what_the_pipeline_wrote_need_no_commit(root: Path) -> None:
    (root / "profiles/new.yaml").write_text("train.steps: 79\n")
    (root / RECORDED).write_text("mine\n")
    clone = open_profile(root, "new")
    assert load_params(clone / "params.yaml").train.steps == 79
    assert git(clone, "status", "--porcelain") == ""
    page = " ".join((ROOT / "docs/profiles.md").read_text(encoding="utf-8").split())
    assert "Files in `profiles/` need no commit" in page
    assert "nor does what the pipeline writes here" in page


def test_a_folder_that_is_no_clone_does_not_lead_git_to_the_checkout(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    (root / FOLDER / "small").mkdir(parents=True)
    with pytest.raises(LatentWireError, match=r"small is no git repository, expected a clone\. Next: move it away"):
        open_profile(root, "small")
    assert git(root, "rev-parse", "HEAD", "--abbrev-ref", "HEAD") == f"{head}\nmain"


def test_without_a_commit_there_is_nothing_to_clone(tmp_path: Path, root: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(root, empty, ignore=shutil.ignore_patterns(".git"))
    git(empty, "init", "-q")
    with pytest.raises(LatentWireError, match=r"has no commit to clone\. Next: `git commit` there"):
        open_profile(empty, "small")


PIPELINE: dict[str, Any] = {
    "code": {
        "cmd": "mkdir -p results/code; echo {} > results/code/prepare.json",
        "outs": ["results/code/prepare.json"],
    },
    "prepare": {
        "cmd": "grep -m1 steps params.yaml > results/seen && echo ran >> ../../ran",
        "deps": ["results/code/prepare.json", "assets.lock"],
        "params": ["train.steps"],
        "outs": ["results/seen"],
    },
}
"""In place of the stages; each run of the last one leaves a line beside the clones of the checkout."""


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_runs_the_pipeline_there_and_goes_on(root: Path) -> None:
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}))
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    commit(root)
    for changed, ran in ((None, 1), ("code.py", 1), ("profiles/small.yaml", 2)):
        if changed:
            (root / changed).write_text("train.steps: 78\n")
            commit(root)
        make_repro(root)
        assert (root / ".cache/ran").read_text() == "ran\n" * ran
    assert "steps: 78" in (root / FOLDER / "small/results/seen").read_text()
    assert git(root, "status", "--porcelain") == ""


def make_repro(root: Path) -> None:
    """`make repro PROFILE=small` where everything is set up, with DVC alone as the pipeline."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    command = ["make", "--old-file=setup", "repro", "PROFILE=small", "PIPELINE=dvc repro --quiet"]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
