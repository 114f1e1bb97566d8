"""`python -m tests.folders --profile tiny`: exit code 0 where everything is the same bytes, 3 where it is not."""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tests.folders.folder_pairs import PROFILES
from tests.folders.interruptions import five, interrupt
from tests.support.workspace import Workspace

EXECUTION = "reports/execution/"
COMPARED = ("reports", "results")


def main() -> int:
    """Run both folders to their end and compare them."""
    parser = argparse.ArgumentParser(prog="python -m tests.folders", description=__doc__)
    parser.add_argument("--profile", choices=list(PROFILES), default="tiny")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the interruptions (%(default)s)")
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one by default")
    options = parser.parse_args()
    work = options.folder or Path(tempfile.mkdtemp(prefix="latentwire-folders-"))
    work.mkdir(parents=True, exist_ok=True)
    whole, broken = PROFILES[options.profile](work.resolve())
    log = work / "dvc.log"
    _finish(whole, log)
    _interrupted(broken, random.Random(options.seed), log)
    _finish(broken, log)
    found = differences(whole, broken)
    count = len(compared(whole))
    print(
        "\n".join(found) or f"{count} files of dvc.lock, reports/ and results/ are byte for byte the same", flush=True
    )
    if not found and not options.folder:
        shutil.rmtree(work)
    elif found:
        print(f"Next: compare the two folders in {work}.")
    return 3 if found else 0


def compared(place: Workspace) -> dict[str, bytes]:
    """Relative name → content of every file that has to be the same."""
    found = place.results(COMPARED) | {"dvc.lock": (place.root / "dvc.lock").read_bytes()}
    return {name: data for name, data in found.items() if not name.startswith(EXECUTION)}


def differences(whole: Workspace, broken: Workspace) -> list[str]:
    """A line for every file that is not the same in both."""
    one, other = compared(whole), compared(broken)
    return [f"{name} differs" for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _interrupted(place: Workspace, rng: random.Random, log: Path) -> None:
    steps = int(yaml.safe_load((place.root / "params.yaml").read_text())["train"]["steps"])
    for chosen in five(rng, steps):
        output = interrupt(lambda: _repro(place), place.root, chosen)
        _keep(log, output)
        print(f"interrupted: {chosen}", flush=True)


def _repro(place: Workspace) -> subprocess.Popen[str]:
    return place.start(str(Path(sys.executable).parent / "dvc"), "repro")


def _finish(place: Workspace, log: Path) -> None:
    """What `make repro` does once everything is set up."""
    dvc = _repro(place)
    output, _ = dvc.communicate()
    _keep(log, output)
    if dvc.returncode:
        raise SystemExit(f"`dvc repro` failed with {dvc.returncode} in {place.root}; read {log}")
    _keep(log, place.stage("report", "--pdf-only"))
    print(f"finished: {place.root.name}", flush=True)


def _keep(log: Path, output: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(output)


if __name__ == "__main__":
    sys.exit(main())
