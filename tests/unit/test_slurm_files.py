"""What slurm/ gives to the scheduler, as text; a real SLURM runs it in tests/cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.config import Config

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
STAGES = ("prepare", "encode@tiny", "baseline@tiny", "train@wire-tiny-0", "train@wire-tiny-1")
ITEMS = ("evaluate@wire-tiny-0", "evaluate@wire-tiny-1", "aggregate", "report")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the scripts, and a `dvc` that knows the names of some stages."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "slurm", folder / "slurm", ignore=shutil.ignore_patterns("site.env"))
    dvc = folder / ".venv/bin/dvc"
    dvc.parent.mkdir(parents=True)
    names = "\n".join((*STAGES, *ITEMS))
    dvc.write_text(f'#!/bin/sh\n[ "$1" = cache ] && echo /cache || echo "{names}"\n')
    dvc.chmod(0o755)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/.gitignore").write_text("/config.local\n")
    (folder / ".gitignore").write_text("/.venv/\n/slurm/site.env\n/state/\n")
    for command in ("init -q", "add -A", "commit -q -m scripts"):
        subprocess.run([*GIT, *command.split()], cwd=folder, check=True)
    return folder


def bash(folder: Path, command: str, code: int = 0, **variables: str) -> str:
    """What a command prints on both streams."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "LATENTWIRE_", "MLFLOW_"))}
    environment = {**kept, "LATENTWIRE_IMAGE": "none", **variables}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_sweep_is_three_submissions(clone: Path) -> None:
    (clone / "slurm/site.env").write_text('SBATCH_PARTITION=preempt\nLATENTWIRE_SBATCH="--nodes=1 --cpus-per-task=8"\n')
    said = bash(clone, "slurm/sweep.sh --dry-run 3")
    commit = bash(clone, "git rev-parse HEAD").strip()
    shown = said.replace(str(clone), "CLONE").replace(commit[:12], "COMMIT")
    assert shown == (GOLDEN / "sweep.txt").read_text()
    assert not (clone / "state").exists()


def test_settings_with_the_line_ends_of_windows(clone: Path, tmp_path: Path) -> None:
    (clone / "slurm/site.env").write_bytes(b'SBATCH_PARTITION=preempt\r\nLATENTWIRE_SBATCH="--nodes=1-4"\r\n')
    said = bash(clone, '. slurm/helpers.sh; read_site .; printf "%s|" "$SBATCH_PARTITION" "${site_options[@]}"')
    assert said == "preempt|--nodes=1-4|"


def test_scripts_and_code_have_no_other_line_ends_on_any_machine(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / "run.sh").write_text("true\n")
    for command in ("init -q", "config core.autocrlf true", "add -A", "commit -q -m x", "rm -q --cached run.sh"):
        subprocess.run([*GIT, *command.split()], cwd=tmp_path, check=True)
    (tmp_path / "run.sh").unlink()
    subprocess.run([*GIT, "checkout", "-q", "HEAD", "--", "run.sh"], cwd=tmp_path, check=True)
    assert (tmp_path / "run.sh").read_bytes() == b"true\n"


def test_a_sweep_makes_a_clone_of_every_item(clone: Path, tmp_path: Path) -> None:
    submit = clone / ".venv/bin/sbatch"
    submit.write_text("#!/bin/sh\necho 17\n")
    submit.chmod(0o755)
    said = bash(clone, "slurm/sweep.sh 2", PATH=f"{submit.parent}:{os.environ['PATH']}")
    assert "jobs 17 (data), 17 (2 items, 2 at a time), 17 (collect)" in said
    commit = bash(clone, "git rev-parse HEAD").strip()
    sweep = clone / "state/sweep" / commit[:12]
    assert (sweep / "items").read_text() == "wire-tiny-0\nwire-tiny-1\n"
    for item in ("wire-tiny-0", "wire-tiny-1"):
        assert bash(sweep / item, "git rev-parse HEAD").strip() == commit
        assert (sweep / item / ".dvc/config.local").read_text() == '[cache]\n    dir = "/cache"\n'
        assert (sweep / item / "assets").resolve() == clone / "assets"


@pytest.mark.parametrize("name", ["a:b", "c,d e"])
def test_the_image_sees_a_folder_of_any_name(name: str, clone: Path, tmp_path: Path) -> None:
    """A colon or a comma ends a path in --bind."""
    there = clone.rename(tmp_path / name)
    (there / "latentwire.sif").touch()
    command = '. slurm/helpers.sh; prepare_container "$PWD"; printf "%s|" "${container[@]}"'
    mount = f'type=bind,"source={there}","destination={there}"'
    shown = f"apptainer|exec|--nv|--mount|{mount}|--pwd|{there}|{there}/latentwire.sif|"
    assert bash(there, command, LATENTWIRE_IMAGE="latentwire.sif") == shown


@pytest.mark.parametrize("name", ["c#x", "a,b", "d e", "f;g", "c%41", "it's"])
def test_a_sweep_in_a_folder_of_any_name(name: str, clone: Path, tmp_path: Path) -> None:
    there = clone.rename(tmp_path / name)
    (there / ".venv/bin/dvc").write_text(
        f'#!/bin/sh\n[ "$1" = cache ] && echo "$PWD/.dvc/cache" || printf "%s\\n" {" ".join((*STAGES, *ITEMS))}\n'
    )
    submit = there / ".venv/bin/sbatch"
    submit.write_text('#!/bin/sh\ncase "$*" in *--array*) echo "$*" "$LATENTWIRE_SWEEP" >"$STUB" ;; esac\necho 17\n')
    submit.chmod(0o755)
    path = f"{submit.parent}:{os.environ['PATH']}"
    bash(there, "slurm/sweep.sh 2", PATH=path, STUB=str(tmp_path / "submitted"))
    sweep = there / "state/sweep" / bash(there, "git rev-parse HEAD").strip()[:12]
    assert str(Config(str(sweep / "wire-tiny-1/.dvc"))["cache"]["dir"]) == str(there / ".dvc/cache")
    assert (tmp_path / "submitted").read_text().endswith(f" --export=ALL slurm/container.slurm {sweep}\n")


@pytest.mark.parametrize(
    ("before", "arguments", "variables", "sentence"),
    [
        ("true", "--dry-run none", {}, "usage: slurm/sweep.sh"),
        ("echo >>slurm/sweep.sh", "--dry-run", {}, "not committed: M slurm/sweep.sh. A sweep runs a commit."),
        ("true", "--dry-run", {"MLFLOW_TRACKING_URI": "sqlite:///x.db"}, "one SQLite file for many jobs"),
        ("true", "--dry-run", {"LATENTWIRE_IMAGE": "no.sif"}, "no.sif. Next: make image"),
    ],
)
def test_a_sweep_refuses(before: str, arguments: str, variables: dict[str, str], sentence: str, clone: Path) -> None:
    bash(clone, before)
    assert sentence in bash(clone, f"slurm/sweep.sh {arguments}", code=2, **variables)


def test_outside_of_a_job_it_submits_itself(clone: Path, tmp_path: Path) -> None:
    submit = tmp_path / "bin/sbatch"
    submit.parent.mkdir()
    submit.write_text('#!/bin/sh\necho "$SBATCH_PARTITION: $*"\n')
    submit.chmod(0o755)
    (clone / "slurm/site.env").write_text('SBATCH_PARTITION=preempt\nLATENTWIRE_SBATCH="--nodes=1-4"\n')
    path = f"{submit.parent}:{os.environ['PATH']}"
    shown = bash(Path("/"), f"{clone}/slurm/container.slurm dvc repro prepare", PATH=path)
    assert shown == "preempt: --nodes=1-4 slurm/container.slurm dvc repro prepare\n"
    shown = bash(Path("/"), f"{clone}/slurm/container.slurm", PATH=path, SBATCH_PARTITION="mine")
    assert shown == "mine: --nodes=1-4 slurm/container.slurm\n"


def test_the_job_can_come_again_and_has_the_name_that_the_accounting_asks_for() -> None:
    directives = re.findall(r"^#SBATCH (.+)$", (ROOT / "slurm/container.slurm").read_text(), re.M)
    assert directives == ["--job-name=latentwire", "--requeue", "--open-mode=append", "--signal=B:USR1@120"]


def test_every_variable_of_the_scripts_is_in_the_example() -> None:
    """What a site may set is documented where it is set."""
    scripts = "".join(path.read_text() for path in (ROOT / "slurm").iterdir() if path.suffix in (".sh", ".slurm"))
    given = set(re.findall(r"\$\{(LATENTWIRE_\w+):-", scripts)) - {"LATENTWIRE_SWEEP"}
    assert given <= set(re.findall(r"^#?(\w+)=", (ROOT / "slurm/site.env.example").read_text(), re.M))
