"""`tools/python tools/install.py [--torch cpu|cuda] [--folder DIR]`: install the locked environment; `make setup` does.

Needs nothing but Python and its `venv`. With `--torch cpu`, torch is the CPU build from where pip is configured to
look (indexes, folders of wheels), else that of PyTorch's own index, else PyPI's build, which runs on a CPU, too. All
three are pinned by hash. The file FOLDER/.installed-BUILD says that an installation ended; without it the next start
begins with an empty folder, and pip takes what it downloaded before from its cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

# Started as a file, Python looks for modules beside it, not where `tools` stands.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.pip_failures import explain_failure

ROOT = Path(__file__).resolve().parent.parent
MACHINES = ("x86_64", "aarch64")
GLIBC = (2, 28)
"""The oldest that torch's wheels run on."""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE = ("--retries", "1", "--timeout", "15")
"""So that an index out of reach costs seconds."""
INSTALLED_MB = {"cpu": 2370, "cuda": 6370}
"""What .venv takes, measured on x86-64 with Python 3.11 and 3.13."""
QUIET = ("--quiet", "--disable-pip-version-check")


@dataclass(frozen=True)
class TorchSource:
    """Which build of torch is installed, and from where."""

    build: str
    """`cpu` or `cuda`: the lock file requirements-BUILD.lock."""
    sentence: str
    """Which one it is, and why."""
    index: str | None = None
    """The index that torch alone comes from; None for what pip is configured to ask."""

    @property
    def lock(self) -> Path:
        """The lock file of torch and what only this build needs."""
        return ROOT / f"requirements-{self.build}.lock"


def main() -> None:
    """Parse, and install what is not installed."""
    parser = argparse.ArgumentParser(prog="tools/install.py", description=__doc__)
    parser.add_argument("--torch", choices=("cpu", "cuda"), default="cpu", help="the build of torch (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".venv"), help="of the environment (%(default)s)")
    parser.add_argument("--cpu-index", default=CPU_INDEX, help="PyTorch's index of CPU builds (%(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        install(options.folder, options.torch, options.cpu_index)
    except KeyboardInterrupt:
        print(f"{options.folder} is not complete; what was downloaded is kept. Next: make setup", file=sys.stderr)
        sys.exit(130)


def install(folder: Path, torch: str, cpu_index: str) -> None:
    """Make the environment, unless one of this Python, build of torch and lock files is there already."""
    marker = folder / f".installed-{torch}"
    if is_current(marker):
        return
    check_machine()
    fresh = make_environment(folder, marker)
    pip = Pip(folder)
    source = TorchSource("cuda", "the CUDA build of PyPI") if torch == "cuda" else find_cpu_torch(pip, cpu_index)
    if fresh:
        check_disk(folder, source)
    print(describe(source), flush=True)
    marker.unlink(missing_ok=True)
    if source.index is not None:
        pip.install("--no-deps", "--index-url", source.index, "--require-hashes", "-r", source.lock)
    pip.install("--require-hashes", "-r", ROOT / "requirements.lock", "-r", source.lock)
    pip.install("--no-deps", "--no-build-isolation", "--editable", ROOT)
    marker.touch()


def is_current(marker: Path) -> bool:
    """Whether what was installed is of this Python, and no older than what it was installed from."""
    inputs = [*ROOT.glob("requirements*.lock"), ROOT / "pyproject.toml"]
    if not marker.exists() or read_python(marker.parent) != sys.version_info[:2]:
        return False
    return marker.stat().st_mtime >= max(path.stat().st_mtime for path in inputs)


def read_python(folder: Path) -> tuple[int, int] | None:
    """The version of Python that an environment was made with; None where there is no environment."""
    try:
        text = (folder / "pyvenv.cfg").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    found = re.search(r"^version(?:_info)? *= *(\d+)\.(\d+)", text, re.M)
    return (int(found[1]), int(found[2])) if found else None


def check_machine() -> None:
    """Refuse what no wheel of torch is made for."""
    found = f"{platform.system()} {platform.machine()}"
    if found not in {f"Linux {machine}" for machine in MACHINES}:
        fail(f"this is {found}; latentwire runs on Linux, x86_64 or aarch64. Next: use such a machine")
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        fail(
            f"this machine has {f'{name} {version}'.strip() or 'no glibc'}; torch needs glibc 2.28 or newer. "
            "Next: use the image (on a machine with Apptainer: make image), which brings its own"
        )


def make_environment(folder: Path, marker: Path) -> bool:
    """Make the folder an environment of this Python; False where it is one in which an installation has ended."""
    if read_python(folder) == sys.version_info[:2] and marker.exists():
        return False
    if read_python(folder) is not None and not list(folder.glob(".installed-*")):
        print(f"The last installation into {folder} did not end; it starts again, with what was downloaded.")
    elif read_python(folder) is None and folder.is_dir() and any(folder.iterdir()):
        fail(f"{folder} is a folder with files and no environment of Python. Next: move it away, then make setup")
    check_venv()
    run_or_fail([sys.executable, "-m", "venv", "--clear", str(folder)])
    return True


def check_venv() -> None:
    """Refuse a Python that cannot make environments, as Debian's without its package for that."""
    if all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        return
    package = "python{}.{}-venv".format(*sys.version_info)
    fail(
        f"{sys.executable} ({platform.python_version()}) comes without its modules venv and ensurepip, which make the "
        f"environment. Next: apt-get install {package} (Debian, Ubuntu), then make setup; or give another Python: "
        "make setup PYTHON=path/to/python3.11"
    )


class Pip:
    """The pip of an environment."""

    def __init__(self, folder: Path) -> None:
        self._command = (str(folder / "bin/python"), "-m", "pip")

    def install(self, *arguments: str | Path) -> None:
        """Install, or end with a sentence."""
        run_or_fail([*self._command, "install", *QUIET, *map(str, arguments)])

    def finds(self, version: str, *options: str) -> bool:
        """Whether an index or a folder that pip asks has a wheel of this torch for this Python; downloads none."""
        command = [*self._command, "index", "versions", "--disable-pip-version-check", *options, "torch"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        return version in re.split(r"[\s,()]+", done.stdout)


def find_cpu_torch(pip: Pip, index: str) -> TorchSource:
    """The CPU build where there is one for this Python; else PyPI's, which runs on a CPU, too."""
    version = read_pin(ROOT / "requirements-cpu.lock")
    if pip.finds(version):
        return TorchSource("cpu", "the CPU build, from where pip is configured to look")
    if pip.finds(version, "--index-url", index, *PROBE):
        return TorchSource("cpu", f"the CPU build, from {index}", index)
    return TorchSource(
        "cuda",
        f"the build of PyPI, which also runs on a CPU, since neither where pip is configured to look nor {index} "
        f"has {version} for Python {'.'.join(platform.python_version_tuple()[:2])} (or is within reach)",
    )


def read_pin(lock: Path) -> str:
    """The version of torch that a lock file pins."""
    return re.findall(r"^torch==(\S+)", lock.read_text(encoding="utf-8"), re.M)[0]


def read_download(lock: Path) -> int:
    """How many megabytes a lock file's packages are to download on this machine."""
    found = re.findall(rf"^# Downloads:.*?(\d+) MB on {platform.machine()}", lock.read_text(encoding="utf-8"), re.M)
    return int(found[0])


def describe(source: TorchSource) -> str:
    """The sentence that says what is installed, and how much is downloaded."""
    torch, others = read_download(source.lock), read_download(ROOT / "requirements.lock")
    return (
        f"Installing with Python {platform.python_version()}: torch {read_pin(source.lock).partition('+')[0]} is "
        f"{source.sentence}; {torch} MB for it and {others} MB for the rest, less what pip has already."
    )


def check_disk(folder: Path, source: TorchSource) -> None:
    """Refuse to begin what would fill a disk: pip holds all downloads in TMPDIR until they are installed."""
    temporary = Path(tempfile.gettempdir())
    downloads = read_download(source.lock) + read_download(ROOT / "requirements.lock")
    needs = [(folder, INSTALLED_MB[source.build]), (temporary, downloads)]
    for path, _ in needs:
        needed = sum(amount for other, amount in needs if other.stat().st_dev == path.stat().st_dev)
        has = shutil.disk_usage(path).free // 10**6
        if has < needed:
            fail(
                f"{path.resolve()} has {has} MB free; the installation needs {needed} MB there. Next: free some, "
                "or let .venv be a link to a folder with room, or TMPDIR=/a/folder/with/room make setup"
            )


def run_or_fail(command: Sequence[str]) -> None:
    """Run a command, showing its errors as they come, and end with a sentence where it fails."""
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        try:
            lines = [line for line in process.stderr if sys.stderr.write(line)]
        except KeyboardInterrupt:
            process.terminate()
            raise
    if process.returncode:
        fail(explain_failure(" ".join(command[:4]), "".join(lines)))


def fail(sentence: str) -> NoReturn:
    """End with one sentence."""
    sys.exit(f"error: {sentence}.")


if __name__ == "__main__":
    main()
