"""What other programs answer, and why they do not: to be absent is another thing than to fail."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_LIMIT_S = 30


@dataclass(frozen=True)
class Answer:
    """What a program printed; `problem` says why that is None."""

    output: str | None
    problem: str = ""
    absent: bool = False
    """Whether there is no such program."""


def ask_program(*command: str, cwd: Path | None = None) -> Answer:
    """Run a program to its end, in 30 seconds; nothing that it does is an error."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=_LIMIT_S
        )
    except FileNotFoundError:
        return Answer(None, f"no {name}", absent=True)
    except OSError as error:  # of another kind of machine, or in a folder of PATH that may not be read
        return Answer(None, f"{name} cannot be started: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Answer(None, f"{name} did not answer within {_LIMIT_S} s")
    if done.returncode:
        said = _last_line(done.stderr) or _last_line(done.stdout) or f"exit code {done.returncode}"
        return Answer(None, f"{name} failed: {said.removeprefix(f'{name}: ')}")
    return Answer(done.stdout)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
