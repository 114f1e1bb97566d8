"""The real programs: Apptainer and the image of this tree, built once and kept until what it is made of changes."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.cluster.commands import ROOT, USER
from tests.cluster.slurm import bare_cluster, cluster, free_folder, prepared, undisturbed  # noqa: F401
from tools.image import INPUTS, read_revision

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("CLUSTER_CACHE", "/var/cache/latentwire-cluster"))
BASE = CACHE / "base/manifest"
IMAGES = CACHE / "images"
KEPT = 2
"""Images of the cache; each has most of a gigabyte."""
INSTALL = "Next: as root, tests/cluster/install.sh"


@pytest.fixture(scope="session")
def apptainer() -> str:
    """The program, with the base image and the ordinary user that the tests need."""
    found = shutil.which("apptainer")
    if found is None:
        pytest.skip(f"no apptainer here. {INSTALL}")
    if not BASE.is_file():
        pytest.skip(f"no base image in {BASE.parent}. {INSTALL}")
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip(f"no user {USER} here. {INSTALL}")
    return found


@pytest.fixture(scope="session")
def image(apptainer: str) -> Path:
    """`latentwire.sif` of this tree, for every user to read; built where the cache has none of the same inputs."""
    found = IMAGES / _inputs() / "latentwire.sif"
    with FileLock(CACHE / "images.lock"):  # other workers of pytest need it too
        if not found.is_file():
            found.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([HERE / "image.sh", found], check=True)
            for old in sorted(IMAGES.iterdir(), key=lambda folder: folder.stat().st_mtime)[:-KEPT]:
                shutil.rmtree(old)
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder that belongs to the ordinary user."""
    entry = pwd.getpwnam(USER)
    folder = Path(entry.pw_dir) / f"test-{os.getpid()}"
    folder.mkdir()
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    yield folder
    shutil.rmtree(folder)


def _inputs() -> str:
    """Digest of everything that an image is made of."""
    digest = hashlib.sha256(repr((read_revision(), BASE.read_text())).encode())
    for path in sorted(path for name in INPUTS for path in _files(ROOT / name)):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    found = path.rglob("*") if path.is_dir() else [path]
    return [file for file in found if file.is_file() and file.suffix != ".pyc" and ".egg-info" not in str(file)]
