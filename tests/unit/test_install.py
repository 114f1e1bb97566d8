"""`make setup` with stand-ins for venv and pip: every sentence of tools/python and tools/install.py."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

from latentwire.doctor.checks import PYTHONS as DOCTOR_PYTHONS
from tools import install
from tools.targets import GLIBC, MACHINES, PYTHONS

ROOT = Path(__file__).parents[2]
VERSION = "{}.{}".format(*sys.version_info)
# `python -m venv --clear FOLDER`, without what takes seconds.
VENV = """\
import pathlib, shutil, sys
folder = pathlib.Path(sys.argv[-1])
shutil.rmtree(folder, ignore_errors=True)
(folder / "bin").mkdir(parents=True)
(folder / "pyvenv.cfg").write_text("version = {}.{}.{}\\n".format(*sys.version_info))
(folder / "bin/python").symlink_to(pathlib.Path(__file__).with_name("pip"))
"""
# `python -m pip`: what it was asked is written down; $HAS and $TORCH_INDEX_HAS are the versions that it finds.
PIP = """\
#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *"index versions"*--index-url*) echo "Available versions: $TORCH_INDEX_HAS" ;;
    *"index versions"*) echo "Available versions: $HAS" ;;
    *install*)
        [ -z "${PIP_HANGS:-}" ] || { echo pip hangs >&2; exec sleep 60; }
        echo "$PIP_SAYS" >&2
        exit "$PIP_CODE" ;;
esac
"""
CPU, PYPI = "2.13.0+cpu", "2.13.0"


class Checkout:
    """A folder with what the installation reads, and stand-ins for `venv` and `pip`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        (self.root / "tools").mkdir(parents=True)
        for name in ("python", "install.py", "pip_failures.py"):
            shutil.copy(ROOT / "tools" / name, self.root / "tools")
        for path in (*ROOT.glob("requirements*.lock"), ROOT / "pyproject.toml"):
            shutil.copy(path, self.root)
        self.fakes = folder / "fakes"
        (self.fakes / "venv").mkdir(parents=True)
        (self.fakes / "venv/__init__.py").touch()
        (self.fakes / "venv/__main__.py").write_text(VENV)
        (self.fakes / "venv/pip").write_text(PIP)
        (self.fakes / "venv/pip").chmod(0o755)
        self.calls = folder / "calls"
        self.marker = self.root / ".venv/.installed-cpu"

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.root),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(self.fakes),
            "CALLS": str(self.calls),
            "HAS": f"2.14.0, {CPU}, {PYPI}",
            "TORCH_INDEX_HAS": CPU,
            "PIP_SAYS": "",
            "PIP_CODE": "0",
            **variables,
        }

    def start(self, *options: str, **variables: str) -> subprocess.Popen[str]:
        command = [self.root / "tools/python", "tools/install.py", *options]
        environment = self.environment(**variables)
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def install(self, *options: str, **variables: str) -> tuple[int, str, str]:
        """The exit code, what was printed, and its errors."""
        with self.start(*options, **variables) as process:
            printed, errors = process.communicate(timeout=120)
        return process.returncode, printed, errors

    def installed(self) -> list[str]:
        """What pip was asked to install, call by call."""
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [call.partition(" install ")[2] for call in calls if " install " in call]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def error_of(result: tuple[int, str, str], code: int = 1) -> str:
    """The one sentence of a failure, which names the next step."""
    assert result[0] == code, result
    (line,) = [line for line in result[2].splitlines() if line.startswith("error: ")]
    assert "Next: " in line
    return line


def test_the_cpu_build_from_where_pip_looks(checkout: Checkout) -> None:
    code, printed, errors = checkout.install()
    assert (code, errors) == (0, "\n" * 2)
    (line,) = printed.splitlines()
    assert "torch 2.13.0 is the CPU build, from where pip is configured to look; " in line
    assert re.search(r"; \d+ MB for it and \d+ MB for the rest", line)
    hashed = "--quiet --disable-pip-version-check --require-hashes"
    lock = f"-r {checkout.root}/requirements.lock -r {checkout.root}/requirements-cpu.lock"
    assert checkout.installed()[0] == f"{hashed} {lock}"
    assert "--editable" in checkout.installed()[1]
    assert checkout.marker.exists()


def test_the_cpu_build_from_the_index_of_pytorch(checkout: Checkout) -> None:
    code, printed, _ = checkout.install("--cpu-index", "https://mirror.invalid/cpu", HAS=PYPI)
    assert code == 0
    assert "the CPU build, from https://mirror.invalid/cpu; " in printed
    alone, both, _ = checkout.installed()
    assert "--no-deps --index-url https://mirror.invalid/cpu --require-hashes -r" in alone
    assert alone.endswith("/requirements-cpu.lock")
    assert "--index-url" not in both


def test_the_build_of_pypi_where_there_is_no_other(checkout: Checkout) -> None:
    code, printed, _ = checkout.install(HAS=PYPI, TORCH_INDEX_HAS="")
    assert code == 0
    assert (
        "the build of PyPI, which also runs on a CPU, since neither where pip is configured to look nor "
        f"{install.CPU_INDEX} has {CPU} for Python {VERSION}" in printed
    )
    assert checkout.installed()[0].endswith("/requirements-cuda.lock")
    assert checkout.marker.exists(), "asked for was the CPU; make compares with that"


def test_a_gpu_gets_the_build_of_pypi_and_nothing_is_looked_for(checkout: Checkout) -> None:
    code, printed, _ = checkout.install("--torch", "cuda")
    assert code == 0
    assert "the CUDA build of PyPI; " in printed
    assert "index versions" not in checkout.calls.read_text()


def test_what_is_installed_stays_until_a_lock_file_changes(checkout: Checkout) -> None:
    checkout.install()
    assert checkout.install() == (0, "", "")
    (checkout.root / ".venv/kept").touch()
    later = time.time() + 60
    os.utime(checkout.root / "requirements.lock", (later, later))
    code, printed, _ = checkout.install()
    assert code == 0
    assert "did not end" not in printed
    assert (checkout.root / ".venv/kept").exists(), "what is there is brought up to date"
    assert len(checkout.installed()) == 4


@pytest.mark.parametrize("other", ["python", "build"])
def test_another_python_or_build_gets_an_empty_folder(checkout: Checkout, other: str) -> None:
    checkout.install()
    (checkout.root / ".venv/of the other").touch()
    if other == "python":
        (checkout.root / ".venv/pyvenv.cfg").write_text("version = 3.9.2\n")
    code, printed, _ = checkout.install(*(["--torch", "cuda"] if other == "build" else []))
    assert code == 0
    assert "did not end" not in printed
    assert not (checkout.root / ".venv/of the other").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_second_start_goes_on_after_an_interruption(checkout: Checkout, number: signal.Signals) -> None:
    with checkout.start(PIP_HANGS="yes") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "pip hangs\n"
        # What kills so that nothing can be said kills pip, too.
        (os.killpg if number is signal.SIGKILL else os.kill)(process.pid, number)
        errors = process.stderr.read()
    if number is not signal.SIGKILL:
        assert process.returncode == 130
        assert errors == ".venv is not complete; what was downloaded is kept. Next: make setup\n"
    (checkout.root / ".venv/half a package").touch()
    code, printed, _ = checkout.install()
    assert code == 0
    assert printed.startswith(
        "The last installation into .venv did not end; it starts again, with what was downloaded.\n"
    )
    assert not (checkout.root / ".venv/half a package").exists()
    assert checkout.marker.exists()


def test_a_folder_of_the_user_is_not_emptied(checkout: Checkout) -> None:
    (checkout.root / ".venv").mkdir()
    (checkout.root / ".venv/thesis.tex").touch()
    assert ".venv is a folder with files and no environment of Python" in error_of(checkout.install())
    assert (checkout.root / ".venv/thesis.tex").exists()


FAILURES = {
    "a disk is full": "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "another file than the lock files pin by hash": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
    "a certificate that pip does not trust": "SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')",
    "no package index was reached": "NewConnectionError('...: Failed to establish a new connection: [Errno 111]')",
    "no package index that pip reached has torch==2.13.0 ": "ERROR: No matching distribution found for torch==2.13.0",
    "-m pip install failed: ERROR: something else. Next": "WARNING: first\nERROR: something else.",
}


@pytest.mark.parametrize("sentence", FAILURES)
def test_a_failure_of_pip_is_explained(checkout: Checkout, sentence: str) -> None:
    result = checkout.install(PIP_SAYS=FAILURES[sentence], PIP_CODE="1")
    assert FAILURES[sentence] in result[2], "as pip printed it"
    line = error_of(result)
    assert sentence in line
    assert line.endswith("then make setup, which goes on with what was downloaded.")
    assert not checkout.marker.exists()


def test_a_proxy_that_refuses_is_named_without_its_password(checkout: Checkout) -> None:
    says = "ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 403 Forbidden'))"
    proxy = {"https_proxy": "http://user:secret@proxy.invalid:3128"}
    line = error_of(checkout.install(PIP_SAYS=says, PIP_CODE="1", **proxy))
    assert "the proxy http://proxy.invalid:3128 (of https_proxy) let nothing through" in line


@pytest.mark.parametrize("build", ["cpu", "cuda"])
def test_too_little_disk_is_said_before_anything_is_downloaded(
    build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "free")
    source = install.TorchSource(build, "")
    needed = install.INSTALLED_MB[build]
    needed += install.read_download(source.lock) + install.read_download(ROOT / "requirements.lock")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(needed * 10**6))
    install.check_disk(tmp_path, source)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(needed * 10**6 - 1))
    with pytest.raises(SystemExit, match=f"has {needed - 1} MB free; the installation needs {needed} MB there. Next: "):
        install.check_disk(tmp_path, source)


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install.check_machine()
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.17"))
    with pytest.raises(SystemExit, match=r"has glibc 2\.17; torch needs glibc 2\.28 or newer\. Next: "):
        install.check_machine()
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    with pytest.raises(SystemExit, match="has no glibc; "):
        install.check_machine()
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(SystemExit, match=r"this is Darwin .*; latentwire runs on Linux"):
        install.check_machine()


def test_a_python_without_venv_is_said_with_its_package(checkout: Checkout) -> None:
    (checkout.fakes / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    line = error_of(checkout.install())
    assert "comes without its modules venv and ensurepip" in line
    assert f"apt-get install python{VERSION}-venv" in line
    assert not (checkout.root / ".venv").exists()


def fake_python(folder: Path, name: str, version: str, code: int) -> None:
    """A Python that says this of itself, and otherwise prints its name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] || {{ echo {path}; exit 0; }}\necho {version}\nexit {code}\n')
    path.chmod(0o755)


def find_python(checkout: Checkout, **variables: str) -> tuple[int, str, str]:
    """What tools/python starts where PATH has nothing but the stand-ins and programs without a Python."""
    bare = checkout.root / "bare"
    bare.mkdir(exist_ok=True)
    for name in ("bash", "sh", "env", "sed", "dirname"):
        if not (bare / name).exists():
            (bare / name).symlink_to(str(shutil.which(name)))
    own = {"PYTHON": "", "PATH": f"{checkout.fakes}/bin:{bare}", **variables}
    command = [checkout.root / "tools/python", "x"]
    done = subprocess.run(
        command, env=checkout.environment(**own), capture_output=True, text=True, check=False, cwd=checkout.root
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_no_python(checkout: Checkout) -> None:
    fake_python(checkout.fakes / "bin", "python3", "3.9.2", 11)
    line = error_of(find_python(checkout), 2)
    assert "found no CPython 3.11, 3.12 or 3.13" in line
    assert "looked for python3.11 (is not here or does not run), " in line
    assert "python3 (is 3.9.2)" in line
    assert "make setup PYTHON=path/to/python3.11" in line


def test_a_python_that_was_named_is_the_only_one(checkout: Checkout) -> None:
    fake_python(checkout.fakes / "bin", "python3.11", "3.11.2", 0)
    line = error_of(find_python(checkout, PYTHON="python3.10"), 2)
    assert "looked for python3.10 (is not here or does not run). Next: " in line
    fake_python(checkout.fakes / "bin", "python3.12", "3.12.1", 0)
    assert find_python(checkout, PYTHON="python3.12")[1].endswith("/python3.12")


def test_the_first_python_that_has_venv(checkout: Checkout) -> None:
    fake_python(checkout.fakes / "bin", "python3.11", "3.11.2", 10)
    assert find_python(checkout)[1].endswith("/python3.11"), "better than none; the installation says what is missing"
    fake_python(checkout.fakes / "bin", "python3", "3.13.0", 0)
    assert find_python(checkout)[1].endswith("/python3")
    (checkout.root / ".venv").mkdir()
    fake_python(checkout.fakes / "bin", "python3.12", "3.12.1", 0)
    fake_python(checkout.fakes / "bin", "python3.13", "3.13.0", 0)
    assert find_python(checkout)[1].endswith("/python3.12")
    (checkout.root / ".venv/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.13.0\n")
    assert find_python(checkout)[1].endswith("/python3.13"), "that of the environment"
    fake_python(checkout.root / ".venv/bin", "python3.13", "3.13.0", 0)
    path = f"{checkout.root}/.venv/bin:{checkout.fakes}/bin:{checkout.root}/bare"
    found = find_python(checkout, PATH=path)[1]
    assert found == str(checkout.fakes / "bin/python3.13"), "not out of the folder that is about to be emptied"


@pytest.mark.parametrize("place", [".pyenv/versions/3.12.1/bin", ".local/share/uv/python/cpython-3.12.1-linux/bin"])
def test_pythons_of_pyenv_and_uv_are_found(checkout: Checkout, place: str) -> None:
    fake_python(checkout.root / place, "python3.12", "3.12.1", 0)
    fake_python(checkout.fakes / "bin", "python3.12", "", 127)
    assert find_python(checkout) == (0, str(checkout.root / place / "python3.12"), "")
    assert find_python(checkout, PYTHON="python3.12")[1] == str(checkout.root / place / "python3.12")


def test_one_set_of_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first, last = (int(version.partition(".")[2]) for version in (PYTHONS[0], PYTHONS[-1]))
    assert project["requires-python"] == f">=3.{first},<3.{last + 1}"
    assert f"(3, {first}) <= sys.version_info[:2] <= (3, {last})" in (ROOT / "tools/python").read_text()
    assert DOCTOR_PYTHONS == PYTHONS
    assert (install.MACHINES, install.GLIBC) == (MACHINES, (2, GLIBC))
