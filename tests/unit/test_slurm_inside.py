"""The part of a job in the image, with programs that stand for DVC and for ours: what runs, and in which order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MENDED = "python -m latentwire.dvc_files --mend-only"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with notes, and programs that write down how they were called."""
    for folder in ("notes", ".dvc/tmp", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("dvc", "python", "latentwire"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>calls\n[ "$1 $2" != "stage list" ] || printf "$STAGES"\n')
        program.chmod(0o755)
    return tmp_path


def run_inside(place: Path, *command: str, **variables: str) -> tuple[list[str], str]:
    """What was called, and what was said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "LATENTWIRE_"))}
    own = {**kept, "PATH": f"{place / 'bin'}:{kept['PATH']}", **variables}
    words = ["bash", str(ROOT / "slurm/inside.sh"), "notes", *command]
    done = subprocess.run(words, cwd=place, env=own, capture_output=True, text=True, check=True)
    return (place / "calls").read_text().splitlines(), done.stderr


@pytest.mark.parametrize("command", [("dvc", "repro"), ("bash", "-c", "dvc repro")])
def test_what_a_kill_left_is_mended_before_anything_else(command: tuple[str, ...], place: Path) -> None:
    """Also where a script calls DVC, as the one that collects a sweep does."""
    assert run_inside(place, *command, STAGES="")[0] == [MENDED, "dvc repro"]


def test_it_is_mended_before_a_checkpoint_is_fetched(place: Path) -> None:
    calls, _ = run_inside(place, "dvc", "repro", STAGES="prepare\\nencode@r8\\ntrain@wire-r8-0\\n", LATENTWIRE_PARK="1")
    fetched = ["dvc stage list --name-only", "dvc repro encode@r8", "latentwire fetch --all"]
    assert calls == [MENDED, *fetched, "dvc repro"]


def test_without_features_the_prepared_data_say_which_checkpoint_is_meant(place: Path) -> None:
    calls, _ = run_inside(place, "dvc", "repro", STAGES="prepare\\ntrain@mlp-digits-0\\n", LATENTWIRE_PARK="1")
    assert calls[2:4] == ["dvc repro prepare", "latentwire fetch --all"]


def test_without_a_name_of_the_data_nothing_runs_for_it(place: Path) -> None:
    calls, said = run_inside(place, "dvc", "repro", "report", STAGES="report\\n", LATENTWIRE_PARK="1")
    assert calls == [MENDED, "dvc stage list --name-only", "dvc repro report"]
    assert said.startswith("warning: dvc.yaml lists neither encode nor prepare, so no checkpoint is fetched")
