"""`paper.tex` → `paper.pdf` by latexmk, where there is one, and a reading of its log."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from latentwire.environment import latexmk_variables
from latentwire.errors import LatentWireError
from latentwire.reporting.number_format import count_of

ENGINE = "latexmk"
WIDEST_OVERFLOW = 5.0
"""Points by which a line may stick out of the text."""
MINUTES = 5


def compile_paper(source: Path) -> Path | None:
    """Compile `source` next to itself; None, with nothing written, where no TeX engine is installed.

    The same sources give the same bytes in any folder and at any time.

    Raises:
        LatentWireError: LaTeX cannot be started, stopped, or did not come to its end; or its log has undefined
            references or text that sticks out.
    """
    if shutil.which(ENGINE) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="latentwire-tex-") as scratch:
        log = _run(source, Path(scratch))
        check_log(find_complaints(log), source)
        target = source.with_suffix(".pdf")
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(Path(scratch) / target.name, partial)
        partial.replace(target)
    return target


def _run(source: Path, scratch: Path) -> str:
    command = [
        ENGINE,
        "-norc",
        "-pdf",
        "-interaction=nonstopmode",
        "-halt-on-error",
        f"-outdir={scratch}",
        source.name,
    ]
    said, log = scratch / f"{ENGINE}.txt", scratch / f"{source.stem}.log"
    with said.open("wb") as output:
        code = _run_to_the_end(command, source, output)
    text = (log if log.is_file() else said).read_text(encoding="utf-8", errors="replace")
    if code:
        raise LatentWireError(
            f"LaTeX stopped on {source}: {first_error(text)}. Expected a paper. "
            f"Next: `cd {source.parent} && {ENGINE} -pdf {source.name}` shows the whole log."
        )
    return text


def _run_to_the_end(command: Sequence[str], source: Path, output: IO[bytes]) -> int:
    """The exit code of latexmk; the engine that it starts does not outlive it."""
    try:
        process = subprocess.Popen(
            command,
            cwd=source.parent,
            env=latexmk_variables(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise LatentWireError(
            f"{ENGINE} cannot be started: {error.strerror}. Expected it to compile {source}. Next: install TeX Live "
            f"again, or take {shutil.which(ENGINE)} off PATH: without one the report is made without a PDF."
        ) from None
    try:
        return process.wait(60 * MINUTES)
    except subprocess.TimeoutExpired:
        raise LatentWireError(
            f"{ENGINE} has not compiled {source} within {MINUTES} minutes. Expected seconds. "
            f"Next: `cd {source.parent} && {ENGINE} -pdf {source.name}` shows where it waits."
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def first_error(log: str) -> str:
    """The first error of a LaTeX log, with the line that it names; or the last line that is not blank."""
    error = re.search(r"^! (.+)$", log, flags=re.M)
    if error is None:
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        return lines[-1] if lines else "without a log"
    line = re.search(r"^l\.\d+.*$", log[error.end() :], flags=re.M)
    return error.group(1).rstrip(".") + (f" at {line.group()}" if line else "")


def find_complaints(log: str) -> list[str]:
    """What latexmk takes for success: undefined or doubled names, and text that sticks out."""
    complaints = re.findall(r"^.*Warning: .*(?:undefined|multiply).*$", log, flags=re.M)
    for line in re.findall(r"^Overfull .*$", log, flags=re.M):
        width = re.search(r"\(([\d.]+)pt too", line)
        if width is None or float(width.group(1)) > WIDEST_OVERFLOW:
            complaints.append(line)
    return [line.strip() for line in complaints]


def check_log(complaints: Sequence[str], source: Path) -> None:
    """Raise when there are complaints.

    Raises:
        LatentWireError: Names the first of them.
    """
    if complaints:
        raise LatentWireError(
            f"The log of {source} has {count_of(len(complaints), 'complaint')}, first `{complaints[0]}`; expected no "
            f"undefined reference and no line more than {WIDEST_OVERFLOW:g} pt too wide. Next: shorten report.names in "
            "params.yaml, or report this as a bug in latentwire.reporting."
        )
