"""Commands as root and as the ordinary user."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = os.environ.get("CLUSTER_USER", "hpc")


def run(*command: str | Path, user: str | None = None, cwd: Path = Path("/"), code: int = 0, **variables: str) -> str:
    """Run a command to its end, check its exit code and return what it printed, both streams."""
    words = [str(word) for word in command]
    own = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**own, "HOME": str(Path.home()), **variables}
    if user is not None:
        environment |= {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "LOGNAME": user}
        words = ["runuser", "-u", user, "--", *words]
    done = subprocess.run(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == code, f"{' '.join(words)}: {done.returncode}, expected {code}\n{done.stdout}"
    return done.stdout
