"""A judge from outside, `ckpt-chaos`: it kills an unmodified program before, inside and by TERM at its file operations.

`python -m tests.chaos.judge toy stage`: at all of them; exit code 0 when every resume was clean, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import toy_training, workspace

ROOT = Path(__file__).parents[2]
MODES = ("before", "torn", "term")
ALL = 10**6
SUBJECTS = ("toy", "stage")
_BAD = "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL"


@dataclass(frozen=True)
class Subject:
    """A program that is judged; `{out}` in its command is its folder, `results` a folder in that."""

    command: Sequence[str]
    checkpoints: str
    results: str
    cwd: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Judgement:
    """One boundary: what was struck there and what was said of the resume. `clean` is what it has to be."""

    label: str
    verdict: str
    struck_as_planned: bool
    same_results: bool

    @property
    def clean(self) -> bool:
        """Resumed at once, from the newest whole checkpoint, to the same bytes; and struck where it was meant."""
        return self.verdict == "PASS" and self.struck_as_planned and self.same_results


def toy_subject() -> Subject:
    """The trainer of these tests. It saves in the loop: a thread would put its file operations in no order."""
    return Subject(
        command=(sys.executable, toy_training.__file__, "{out}/run", "{out}/export", "--foreground"),
        checkpoints="{out}/run/checkpoints/step-*",
        results="export",
        cwd=ROOT,
        environment={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )


def stage_subject(root: Path) -> Subject:
    """The real train stage in a workspace of its own, on tiny models."""
    place = workspace.make(root, train__steps=6, train__checkpoint={"every": 2, "keep": 99})
    place.stage("prepare")
    place.stage("encode", "--task", "tiny")
    return Subject(
        command=(
            *(sys.executable, "-m", "latentwire.stages.train", *workspace.TRAIN[1:]),
            *("--state", "{out}/state", "--results", "{out}/results"),
        ),
        checkpoints=f"{{out}}/state/{workspace.ITEM}-*/checkpoints/step-*",
        results="results",
        cwd=root,
        environment={**place.environment, "LATENTWIRE_PROCESSES": "1"},
    )


def judge(subject: Subject, work: Path, points: int = ALL, modes: Sequence[str] = MODES) -> list[Judgement]:
    """Let `ckpt-chaos` strike at up to `points` boundaries, evenly chosen."""
    command = [
        *(str(Path(sys.executable).with_name("ckpt-chaos")), "run", "--work", str(work)),
        *("--max-points", str(points), "--modes", ",".join(modes), "--grace", "60"),
        *("--checkpoint-glob", subject.checkpoints, "--step-regex", r"Going on from step (\d+)"),
        *("--result-file", f"{{out}}/{_tensors(subject)}", "--fail-on", _BAD, "--", *subject.command),
    ]
    judged = subprocess.run(
        command, cwd=subject.cwd, env=dict(subject.environment), capture_output=True, text=True, check=False
    )
    if not (work / "pt_control" / "result.json").exists():
        raise AssertionError(judged.stdout + judged.stderr)
    expected = _contents(work / "reference" / "out" / subject.results)
    rows = re.findall(r"^(.*?) {2,}\S+  (?:resumed|RAISED).*?  ([A-Z_]+)(?:  \[.*)?$", judged.stdout, re.MULTILINE)
    verdicts = {label.strip(): verdict for label, verdict in rows}
    found = [json.loads(path.read_text()) | {"at": path.parent} for path in sorted(work.glob("pt_*/result.json"))]
    judgements = [_judgement(record, work, subject, verdicts, expected) for record in found]
    assert judged.returncode == 0 or not all(one.clean for one in judgements), judged.stdout + judged.stderr
    return judgements


def _judgement(
    record: dict[str, Any], _work: Path, subject: Subject, verdicts: Mapping[str, str], expected: Mapping[str, bytes]
) -> Judgement:
    at: Path = record["at"]
    same = _contents(at / "out" / subject.results) == expected
    return Judgement(record["label"], verdicts.get(record["label"], "not judged"), not record["drift"], same)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _tensors(subject: Subject) -> str:
    return (
        f"{subject.results}/tensors.safetensors"
        if subject.results == "export"
        else (f"{subject.results}/{workspace.ITEM}/tensors.safetensors")
    )


def table(name: str, judgements: Sequence[Judgement]) -> str:
    """What is not clean, and how many of each mode are."""
    lines = [f"{name}: {one.label}: {one}" for one in judgements if not one.clean]
    modes = Counter(one.label.rpartition("[")[2].rstrip("]") if "[" in one.label else "control" for one in judgements)
    clean = sum(one.clean for one in judgements)
    counted = ", ".join(f"{count} {mode}" for mode, count in sorted(modes.items()))
    return "\n".join([*lines, f"{name}: {clean} of {len(judgements)} boundaries clean ({counted})"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the subjects at every boundary."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.judge", description=__doc__)
    # No `choices`: the empty list of a call without a name would be held against them as if it were one.
    parser.add_argument("subjects", nargs="*", help=f"{' and '.join(SUBJECTS)} by default")
    parser.add_argument("--points", type=int, default=ALL, help="boundaries at most, evenly chosen; default: all")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.subjects} - {*SUBJECTS}):
        parser.error(f"nothing is called {', '.join(unknown)}, expected {' or '.join(SUBJECTS)}")
    bad = 0
    for name in options.subjects or SUBJECTS:
        with tempfile.TemporaryDirectory(prefix="unbroken-judge-") as folder:
            root = Path(folder)
            subject = toy_subject() if name == "toy" else stage_subject(root / "workspace")
            judgements = judge(subject, root / "judged", options.points)
            print(table(name, judgements), flush=True)
            bad += sum(not one.clean for one in judgements)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
