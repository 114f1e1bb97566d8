"""`tools/image.py [--output FILE] [--torch cuda|cpu] [-- OPTIONS OF apptainer build]`: build, test, seal the image.

Needs Apptainer, git and Python, nothing else; `make image` runs it. The image appears under its name only after its own
test has passed, with `FILE.sha256` beside it, which execution records carry.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from latentwire.environment import git_environment  # noqa: E402  (it imports nothing but the standard library)

DEFINITION = "Apptainer.def"
LOCKS = ("requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock")
INPUTS = (DEFINITION, "LICENSE", "README.md", "params.yaml", "pyproject.toml", *LOCKS, "src")
"""All that Apptainer.def reads."""


def run_git(*arguments: str) -> str:
    """Return what a git command printed here.

    Raises:
        SystemExit: Git failed; the sentence says why.
    """
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, env=git_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(
            f"error: {done.stderr.strip()} An image carries the commit that it was built from. Next: build in a clone."
        )
    return done.stdout.strip()


def read_revision() -> tuple[str, str]:
    """The commit, and `dirty` where a file that goes into the image differs from it."""
    changed = run_git("status", "--porcelain", "--untracked-files=all", "--", *INPUTS)
    return run_git("rev-parse", "HEAD"), "dirty" if changed else "clean"


def namespace_prefix(status: str) -> list[str]:
    """What comes before `apptainer` as root: a user namespace, where the bounding set is not full.

    Args:
        status: The text of /proc/self/status.
    """
    bounding = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.M)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    full = bounding is not None and int(bounding[1], 16) == (1 << last + 1) - 1
    return [] if full else [sys.executable, str(ROOT / "tools/userns_exec.py")]


def build_command(torch: str, target: Path, more: Sequence[str]) -> list[str]:
    """The build. The test is left out: it runs on the finished, read-only image."""
    commit, tree = read_revision()
    facts = (f"COMMIT={commit}", f"TREE={tree}", f"TORCH={torch}")
    arguments = [part for fact in facts for part in ("--build-arg", fact)]
    return ["apptainer", "build", "--force", "--notest", *arguments, *more, str(target), DEFINITION]


def write_checksum(image: Path) -> str:
    """Write `IMAGE.sha256`, as `sha256sum --check` reads it, and return the digest."""
    with image.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    Path(f"{image}.sha256").write_text(f"{digest}  {image.name}\n", encoding="utf-8")
    return digest


def build_image(output: Path, torch: str, more: Sequence[str]) -> None:
    """Build beside the old image, test, rename.

    Raises:
        SystemExit: One of Apptainer's commands failed; the code is its own.
    """
    if shutil.which("apptainer") is None:
        sys.exit("error: no apptainer here. Next: install it (on Debian 12 as root: tests/cluster/install.sh).")
    before = namespace_prefix(Path("/proc/self/status").read_text()) if os.geteuid() == 0 else []
    partial = output.with_name(f"{output.name}.partial")
    try:
        for step in (build_command(torch, partial, more), ["apptainer", "test", str(partial)]):
            print("+", *step, flush=True)
            code = subprocess.run([*before, *step], cwd=ROOT, check=False).returncode
            if code:
                sys.exit(code)
        output.with_name(f"{output.name}.sha256").unlink(missing_ok=True)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{output}: {output.stat().st_size / 2**20:.0f} MiB, SHA-256 {write_checksum(output)}")


def main() -> None:
    """Parse and build."""
    parser = argparse.ArgumentParser(prog="tools/image.py", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "latentwire.sif", help="(%(default)s)")
    parser.add_argument("--torch", choices=("cuda", "cpu"), default="cuda", help="the build of torch (%(default)s)")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="after --, for `apptainer build`")
    options = parser.parse_args()
    build_image(options.output.resolve(), options.torch, options.options)


if __name__ == "__main__":
    main()
