""".ci/run with programs that only say their names: every lane is run and shown, and one failure is CI's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = ("tests/cluster/install.sh", "tests/cluster/cluster-up.sh", "tests/cluster/cluster-down.sh")
MACHINES = "tests/machines/install.sh"
PUBLISHED = "prove-published STAGES=evaluate_ablation@wire_1-r8-0"
LANES = (
    *("test test-long test-lightning", "cluster-test"),
    *("lint", "prove-machines EMULATED=1 SAMPLE=yes", PUBLISHED),
)
MAKE = """#!/bin/sh
echo "begun: $*"
case "$*" in *"$FAILING"*) echo "failed: $*"; exit 1;; esac
echo "made: $*"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with CI's script and nothing that it starts."""
    programs = dict.fromkeys((*SCRIPTS, MACHINES, "bin/apt-get"), "#!/bin/sh\n")
    for name, text in {**programs, "bin/make": MAKE}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    return tmp_path


def run(checkout: Path, failing: str = "nothing") -> tuple[int, str]:
    """The exit status, and what it printed."""
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [checkout / ".ci/run"],
        env={**os.environ, "PATH": path, "FAILING": failing, "TMPDIR": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_everything_is_run_and_shown(checkout: Path) -> None:
    code, said = run(checkout)
    assert code == 0
    assert [lane for lane in LANES if f"{lane}\n" not in said.replace("made: --keep-going ", "made: ")] == []


@pytest.mark.parametrize("failing", LANES)
def test_one_failure_is_shown_and_stops_nothing_else(checkout: Path, failing: str) -> None:
    code, said = run(checkout, failing)
    assert code == 1
    assert said.count("failed: ") == 1
    assert said.count("begun: ") == 1 + len(LANES)


@pytest.mark.parametrize(("missing", "left_out"), [(SCRIPTS[0], "cluster-test"), (MACHINES, "prove-machines")])
def test_what_the_machine_cannot_do_is_left_out(checkout: Path, missing: str, left_out: str) -> None:
    (checkout / missing).write_text("#!/bin/sh\nexit 1\n")
    code, said = run(checkout)
    assert code == 0
    assert said.count("begun: ") == len(LANES)
    assert f"begun: {left_out}" not in said


def test_what_would_end_too_late_is_not_begun(checkout: Path) -> None:
    """The clock is set forward; lanes in the background go by the same one."""
    script = checkout / ".ci/run"
    script.write_text(script.read_text().replace("\nmake setup\n", "\nmake setup; SECONDS=4500\n", 1))
    code, said = run(checkout)
    assert code == 0
    assert said.count("75 minutes are over; not run: make") == 3
    assert said.count("begun: ") == 3


def test_the_training_that_is_computed_again_is_published() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    assert PUBLISHED.partition("=")[2] in lock["stages"]
