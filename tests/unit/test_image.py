"""Which image this is, which code it runs, and what an execution record says of it; no Apptainer needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from latentwire import image
from latentwire.cli import run
from latentwire.doctor import image_checks as doctor
from latentwire.doctor.checks import State
from latentwire.errors import ConfigurationError
from latentwire.image import Image
from tools.image import INPUTS, build_command, read_revision, run_git, write_checksum

ROOT = Path(__file__).parents[2]
DEFINITION = (ROOT / "Apptainer.def").read_text()
BUILT = Image(commit="0123456789abcdef" * 2 + "01234567", tree="clean", torch="cpu")
DIGEST = "ab" * 32
TEMPLATE = "latentwire/reporting/templates/paper.tex.j2"
SOURCES = ("latentwire/__init__.py", TEMPLATE, "unbroken/__init__.py", "unbroken/run.py")


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process as if its environment were an image's; a clone of the same code."""
    for name in ("LATENTWIRE_IMAGE_DIGEST", "APPTAINER_CONTAINER", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(image, "find_image", lambda prefix=None: BUILT)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(image, "INSTALLED_SOURCE", tmp_path / "lib")
    for name in SOURCES:
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(f"# {name}\n")
    shutil.copytree(tmp_path / "lib", tmp_path / "clone/src")
    return tmp_path / "clone"


def test_no_image_outside_of_one(tmp_path: Path) -> None:
    assert image.find_image() is None
    assert image.describe_image() is None
    image.check_image_code(ROOT)
    (only,) = doctor.examine_image(ROOT)
    assert (only.state, only.advice) == (State.MISSING, "apptainer run latentwire.sif doctor --image")
    (tmp_path / image.IMAGE_FILE).write_text(json.dumps({"commit": "c" * 40, "tree": "dirty", "torch": "cuda"}))
    assert str(image.find_image(tmp_path)) == "commit cccccccccccc with changes that were not committed"


def test_a_clone_of_the_same_code_may_run(inside: Path) -> None:
    image.check_image_code(inside)
    (inside / "src/latentwire/note.txt").write_text("no code")
    image.check_image_code(inside)
    image.check_image_code(inside / "src")


@pytest.mark.parametrize("name", ["src/unbroken/run.py", "src/latentwire/new.py", f"src/{TEMPLATE}"])
def test_a_clone_of_other_code_is_refused(inside: Path, name: str) -> None:
    (inside / name).write_text("# changed\n")
    with pytest.raises(ConfigurationError) as caught:
        image.check_image_code(inside)
    assert str(caught.value) == (
        f"The image has the code of commit 0123456789ab, but the clone in {inside} has other code: {name}. "
        "A stage would run the one and record the other. "
        "Next: `make image` in the clone, or `git checkout 0123456789ab`."
    )


def test_a_missing_file_is_other_code(inside: Path) -> None:
    (inside / "src/unbroken/run.py").unlink()
    with pytest.raises(ConfigurationError, match=r"has other code: src/unbroken/run\.py\."):
        image.check_image_code(inside)


def test_the_real_packages_are_where_a_clone_has_them() -> None:
    assert image.Clone(ROOT).has_source
    assert image.INSTALLED_SOURCE == ROOT / "src"


def test_code_from_another_folder_is_refused(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(inside))
    with pytest.raises(ConfigurationError, match=r"imported from .*/lib; expected .*Next: `unset PYTHONPATH`"):
        image.check_image_code(inside)


def test_every_command_but_the_doctor_is_refused(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "src/unbroken/run.py").write_text("# changed\n")
    monkeypatch.chdir(inside)
    with pytest.raises(SystemExit, match=r"^2$"):
        run(["status"])
    assert "has other code: src/unbroken/run.py" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"^1$"):
        run(["doctor", "--image"])
    assert "has other code: src/unbroken/run.py" in capsys.readouterr().out


def test_the_digest_is_told_or_lies_beside_the_image(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert image.describe_image() == "commit 0123456789ab, digest unknown"
    monkeypatch.setenv("APPTAINER_CONTAINER", str(inside / "latentwire.sif"))
    assert image.describe_image() == "commit 0123456789ab, digest unknown"
    (inside / "latentwire.sif").write_bytes(b"squash")
    digest = write_checksum(inside / "latentwire.sif")
    assert image.describe_image() == f"sha256:{digest}"
    for told in (DIGEST, f"sha256:{DIGEST}"):
        monkeypatch.setenv("LATENTWIRE_IMAGE_DIGEST", told)
        assert image.describe_image() == f"sha256:{DIGEST}"


def test_a_digest_that_is_none_is_an_error(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWIRE_IMAGE_DIGEST", "latentwire.sif")
    with pytest.raises(ConfigurationError, match=r"is 'latentwire\.sif', expected 64 hex"):
        image.describe_image()


def test_doctor_compares_the_digest_with_the_file(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = inside / "latentwire.sif"
    monkeypatch.setenv("APPTAINER_CONTAINER", str(file))
    monkeypatch.setenv("LATENTWIRE_IMAGE_DIGEST", DIGEST)
    assert found_digest(inside) == (State.OK, f"sha256:{DIGEST}, as told; the file is not visible from inside", "")
    file.write_bytes(b"squash")
    state, found, advice = found_digest(inside)
    assert state is State.MISSING
    assert found.startswith(f"sha256:{DIGEST}, but the file has sha256:")
    assert advice == "in its folder, `sha256sum latentwire.sif >latentwire.sif.sha256`"
    monkeypatch.setenv("LATENTWIRE_IMAGE_DIGEST", write_checksum(file))
    assert found_digest(inside) == (State.OK, f"sha256:{write_checksum(file)}", "")


def found_digest(root: Path) -> tuple[State, str, str]:
    (check,) = (check for check in doctor.examine_image(root, root) if check.name == "image digest")
    return check.state, check.found, check.advice


def test_doctor_tells_what_to_do(inside: Path, tmp_path: Path) -> None:
    (inside / "src/unbroken/run.py").write_text("# changed\n")
    checks = {check.name: check for check in doctor.examine_image(inside, tmp_path)}
    assert checks["code"].state is State.MISSING
    assert checks["image"].found == "commit 0123456789ab"
    assert checks["image digest"].state is State.OPTIONAL
    assert checks["programs"].state is State.MISSING
    assert checks["packages"].state is State.MISSING


def test_the_definition_file_copies_what_the_digest_of_its_inputs_covers() -> None:
    files = re.search(r"%files\n((?:    .*\n)+)", DEFINITION)
    assert files is not None
    sources = {line.split(" /opt/")[0].strip() for line in files[1].splitlines()}
    locks = {f"requirements-{build}.lock" for build in ("cpu", "cuda")}
    assert sources - {"requirements-{{ TORCH }}.lock"} | locks | {"Apptainer.def"} == set(INPUTS)


def test_the_command_of_a_build() -> None:
    commit, tree = read_revision()
    options = ["--no-https", "--build-arg", "REGISTRY=127.0.0.1:5/library"]
    assert build_command("cpu", Path("/x/latentwire.sif"), options) == [
        *("apptainer", "build", "--force", "--notest"),
        *("--build-arg", f"COMMIT={commit}", "--build-arg", f"TREE={tree}", "--build-arg", "TORCH=cpu"),
        *options,
        *("/x/latentwire.sif", "Apptainer.def"),
    ]


def test_git_is_told_what_holds_for_every_repository_and_led_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    revision = read_revision()
    setting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "/of/the/user"}
    for name, value in {**setting, "GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index"}.items():
        monkeypatch.setenv(name, value)
    assert "/of/the/user" in run_git("config", "--get-all", "safe.directory").splitlines()
    assert read_revision() == revision


def test_the_program_that_builds_images_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "tools/image.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: tools/image.py")


def test_a_seal_is_read_by_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "latentwire.sif").write_bytes(b"abc")
    assert (
        write_checksum(tmp_path / "latentwire.sif")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert (tmp_path / "latentwire.sif.sha256").read_text() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  latentwire.sif\n"
    )


def test_the_definition_file_says_what_users_read() -> None:
    """Its parts that others rely on, word by word."""
    assert "From: {{ REGISTRY }}/python:3.11-slim-bookworm\n" in DEFINITION
    assert "    REGISTRY=docker.io/library\n" in DEFINITION
    assert "    TORCH=cuda\n" in DEFINITION
    assert "    org.opencontainers.image.revision {{ COMMIT }}\n    latentwire.tree {{ TREE }}\n" in DEFINITION
    assert "--require-hashes -r requirements.lock -r requirements-{{ TORCH }}.lock\n" in DEFINITION
    assert '%runscript\n    exec latentwire "$@"\n' in DEFINITION
    assert re.search(r"%test\n    set -eu\n    latentwire doctor --image\n", DEFINITION)
