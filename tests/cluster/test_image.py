"""The image runs as root and as anybody, from any folder, read-only, and its exit codes come through."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.commands import ROOT, USER, run
from tests.cluster.conftest import BASE, HERE
from tools.image import namespace_prefix, read_revision

pytestmark = pytest.mark.cluster
ANYBODY = pytest.mark.parametrize("user", [None, USER], ids=["root", "user"])
APART = ("--containall", "--cleanenv")


@ANYBODY
@pytest.mark.parametrize("options", [("--nv",), ("--nv", *APART)], ids=["plain", "apart"])
def test_help_from_any_folder(image: Path, home: Path, user: str | None, options: tuple[str, ...]) -> None:
    for folder in (Path("/"), home):
        assert "doctor" in run("apptainer", "exec", *options, image, "latentwire", "--help", user=user, cwd=folder)


@pytest.mark.parametrize(("user", "options"), [(None, ()), (USER, APART)], ids=["root", "user-apart"])
def test_its_own_test(image: Path, home: Path, user: str | None, options: tuple[str, ...]) -> None:
    printed = run("apptainer", "test", *options, image, user=user, cwd=home)
    assert "every byte as in the undisturbed run" in printed
    assert not list(home.iterdir())


def test_doctor_says_what_it_is(image: Path, home: Path) -> None:
    commit, tree = read_revision()
    printed = run("apptainer", "run", image, "doctor", "--image", "--json", user=USER, cwd=home)
    checks = {check["name"]: check for check in json.loads(printed[printed.index("[") :])}
    assert commit[:12] in checks["image"]["found"]
    assert ("not committed" in checks["image"]["found"]) == (tree == "dirty")
    assert "as locked" in checks["packages"]["found"]
    assert "CPU build" in checks["torch"]["found"]
    assert {check["state"] for check in checks.values()} <= {"ok", "optional"}


def test_the_runscript_is_the_command(image: Path, home: Path) -> None:
    printed = run("apptainer", "run", image, "doctor", user=USER, cwd=home, code=1)
    assert "DVC repository: no .dvc here" in printed


def test_labels_and_help(image: Path) -> None:
    labels = json.loads(run("apptainer", "inspect", "--json", "--labels", image))["data"]["attributes"]["labels"]
    commit, tree = read_revision()
    assert labels["org.opencontainers.image.revision"] == commit
    assert (labels["latentwire.tree"], labels["latentwire.torch"]) == (tree, "cpu")
    assert "apptainer exec --nv latentwire.sif dvc repro" in run("apptainer", "run-help", image)


def test_a_build_that_is_told_no_commit_is_refused(apptainer: str, tmp_path: Path) -> None:
    target = tmp_path / "x.sif"
    build = ("apptainer", "build", "--no-https", "--build-arg", "REGISTRY={registry}/library", target, "Apptainer.def")
    served = (sys.executable, HERE / "registry.py", "serve", BASE.parent, "library/python:3.11-slim-bookworm", "--")
    printed = run(*served, *namespace_prefix(Path("/proc/self/status").read_text()), *build, cwd=ROOT, code=255)
    assert "expected 40 hex and clean or dirty" in printed
    assert not target.exists()


def test_the_seal_is_the_images(image: Path) -> None:
    written = Path(f"{image}.sha256").read_text()
    with image.open("rb") as stream:
        assert written == f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {image.name}\n"
    print(f"{image.stat().st_size / 2**20:.0f} MiB")


def test_the_digest_reaches_what_runs_inside(image: Path, home: Path) -> None:
    ask = ("python", "-c", "from latentwire.image import describe_image; print(describe_image())")
    digest = Path(f"{image}.sha256").read_text()[:64]
    bound = ("--bind", str(image.parent))
    assert f"sha256:{digest}" in run("apptainer", "exec", *bound, image, *ask, user=USER, cwd=home)
    told = ("--env", f"LATENTWIRE_IMAGE_DIGEST={digest}")
    assert f"sha256:{digest}" in run("apptainer", "exec", *APART, *told, image, *ask, user=USER, cwd=home)
    unknown = run("apptainer", "exec", *APART, image, *ask, user=USER, cwd=home)
    assert "digest unknown" in unknown


def test_the_environment_is_the_images_own(image: Path, home: Path) -> None:
    ask = "import os, sys, site; print(sys.path, site.ENABLE_USER_SITE, os.environ['PYTHONUNBUFFERED'])"
    printed = run("apptainer", "exec", image, "python", "-c", ask, user=USER, cwd=home, PYTHONPATH="/evil")
    assert "/evil" not in printed
    assert "False 1" in printed
    run("apptainer", "exec", image, "git", "--version", user=USER, cwd=home)


def test_no_caches_and_nothing_of_the_build_is_inside(image: Path, home: Path) -> None:
    ask = "ls -d /root/.cache /opt/source /opt/latentwire/lib/python3.11/site-packages/tests; exit 0"
    printed = run("apptainer", "exec", "--no-home", image, "sh", "-c", ask, cwd=home)
    assert printed.count("No such file") == 3


def test_it_is_read_only(image: Path, home: Path) -> None:
    printed = run("apptainer", "exec", image, "touch", "/opt/latentwire/x", user=USER, cwd=home, code=1)
    assert "Read-only file system" in printed or "Permission denied" in printed


@ANYBODY
@pytest.mark.parametrize("code", [0, 2, 3, 75])
def test_exit_codes_come_through(image: Path, home: Path, user: str | None, code: int) -> None:
    run("apptainer", "exec", *APART, image, "python", "-c", f"raise SystemExit({code})", user=user, cwd=home, code=code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_deaths_come_through(image: Path, home: Path, number: signal.Signals) -> None:
    kill = f"import os; os.kill(os.getpid(), {int(number)})"
    run("apptainer", "exec", image, "python", "-c", kill, user=USER, cwd=home, code=128 + number)


def test_usage_errors_of_a_stage_come_through(image: Path, home: Path) -> None:
    run("apptainer", "exec", image, "python", "-m", "latentwire.stages.train", user=USER, cwd=home, code=2)


def test_a_signal_reaches_the_program_once_and_the_code_comes_back(image: Path, home: Path) -> None:
    wait = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(["apptainer", "exec", str(image), "python", "-c", wait], cwd=home)
    deadline = time.monotonic() + 60
    while not (home / "ready").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 75


def test_a_clone_with_other_code_is_refused(image: Path, home: Path) -> None:
    clone = home / "clone"
    shutil.copytree(ROOT / "src", clone / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "params.yaml", clone)
    stage = ("apptainer", "exec", "--pwd", str(clone), "--bind", str(home), str(image), "python", "-m")
    same = run(*stage, "latentwire.stages.train", "--method", "wire", "--task", "none", "--seed", "0", code=2)
    assert "other code" not in same
    (clone / "src/unbroken/run.py").write_text("# changed\n")
    printed = run(*stage, "latentwire.stages.train", "--method", "wire", "--task", "r8", "--seed", "0", code=2)
    assert "has other code: src/unbroken/run.py" in printed
    assert "Next: `make image` in the clone" in printed
    assert "has other code" in run(*stage[:-2], "latentwire", "doctor", "--image", code=1)
