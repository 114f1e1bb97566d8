"""`reports/paper.pdf`, whose bytes nobody published: does it say what the predictions say?"""

from __future__ import annotations

import difflib
import shutil
import subprocess
from pathlib import Path

from latentwire.errors import LatentWireError
from latentwire.reporting.latex import ENGINE, compile_paper
from latentwire.verification.rebuild import Rebuilt
from latentwire.verification.rows import ResultRow, Status

PAPER = "reports/paper.pdf"
READER = "pdftotext"
SECONDS = 120
AGAIN = "Next: `python -m latentwire.stages.report --pdf-only` makes it from the paper here"


def paper_rows(root: Path, rebuilt: Rebuilt) -> list[ResultRow]:
    """A row for the compiled paper; none where it is not here, as on a machine without TeX."""
    return [ResultRow("paper", PAPER, *_judge_paper(root / PAPER, rebuilt))] if (root / PAPER).is_file() else []


def _judge_paper(path: Path, rebuilt: Rebuilt) -> tuple[Status, str]:
    if rebuilt.report is None:
        return Status.NOT_VERIFIABLE, f"it cannot be built again: {rebuilt.refusal}"
    try:
        again = compile_paper(rebuilt.report / "reports/paper.tex")
    except (LatentWireError, OSError, subprocess.TimeoutExpired) as error:  # it may be of another kind of machine
        return Status.NOT_VERIFIABLE, str(error)
    if again is None:
        return Status.NOT_VERIFIABLE, f"it cannot be compiled again without {ENGINE}. Next: install TeX Live"
    if again.read_bytes() == path.read_bytes():
        return Status.IDENTICAL, ""
    return _compare_texts(path, again)


def _compare_texts(path: Path, again: Path) -> tuple[Status, str]:
    """Another TeX sets other bytes; it must not set other words."""
    if shutil.which(READER) is None:
        return Status.NOT_VERIFIABLE, f"it has other bytes, and no {READER} reads them. Next: install poppler-utils"
    here, expected = read_words(path), read_words(again)
    if expected is None:
        why = f"{READER} cannot read even the paper that was compiled just now"
        return Status.NOT_VERIFIABLE, f"it has other bytes, and {why}. Next: `{READER} -v`"
    if here is None:
        return Status.CONTRADICTED, f"{READER} cannot read it: it is no PDF"
    if here == expected:
        return Status.NOT_VERIFIABLE, f"it has the same words; another TeX set it, or it has other drawings. {AGAIN}"
    return Status.CONTRADICTED, f"its text is not that of the predictions: {first_other_words(expected, here)}"


def read_words(path: Path) -> list[str] | None:
    """The words of a PDF in their order; None where it is none, or nothing here can read it."""
    try:
        done = subprocess.run([READER, str(path), "-"], capture_output=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace").split() if done.returncode == 0 else None


def first_other_words(expected: list[str], here: list[str]) -> str:
    """The first place at which two texts part, with some words around it."""
    matcher = difflib.SequenceMatcher(None, expected, here, autojunk=False)
    start, other = next((i, j) for tag, i, _, j, _ in matcher.get_opcodes() if tag != "equal")
    context = slice(max(start - 3, 0), start + 3), slice(max(other - 3, 0), other + 3)
    return f"it says {' '.join(here[context[1]])!r} for {' '.join(expected[context[0]])!r}"
