"""The installation with the real `venv` and pip, from an index on the loopback."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import install

ROOT = Path(__file__).parents[2]
# The build backend of the sandbox's own project, so that nothing has to be built with packages from elsewhere.
BACKEND = """\
import shutil, sys
def build_editable(directory, settings=None, metadata=None):
    name = "project-1-py3-none-any.whl"
    shutil.copy(name, directory)
    return name
"""
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "project"
version = "1"
"""


def make_wheel(folder: Path, name: str, version: str, code: str = "") -> str:
    """Write a wheel of one module; the SHA-256 of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        f"{name}.py": code,
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{name}-{version}.dist-info/RECORD"] = "\n".join([*record, f"{name}-{version}.dist-info/RECORD,,", ""])
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a folder; as a proxy, it refuses."""

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of an HTTP server of tmp_path/index."""
    (tmp_path / "index").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def own_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pip that knows neither the configuration nor the cache of this machine."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("PIP_RETRIES", "1")


@pytest.fixture
def checkout(tmp_path: Path, served: str, own_pip: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one package beside torch, and an index that has what PyPI has of both."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{served}/pypi")
    root, index = tmp_path / "checkout", tmp_path / "index"
    (root / "tools").mkdir(parents=True)
    for name in ("python", "install.py", "pip_failures.py"):
        shutil.copy(ROOT / "tools" / name, root / "tools")
    make_wheel(root, "project", "1")
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(PROJECT)
    write_lock(root / "requirements.lock", "rest==1", make_wheel(index / "pypi/rest", "rest", "1"))
    pypi = make_wheel(index / "pypi/torch", "torch", "2.13.0", "build = 'PyPI'")
    write_lock(root / "requirements-cuda.lock", "torch==2.13.0", pypi)
    cpu = make_wheel(tmp_path / "elsewhere", "torch", "2.13.0+cpu", "build = 'CPU'")
    write_lock(root / "requirements-cpu.lock", "torch==2.13.0+cpu", cpu)
    return root


def write_lock(path: Path, pin: str, digest: str) -> None:
    path.write_text(f"# Downloads: 1 MB on x86_64, 2 MB on aarch64.\n{pin} --hash=sha256:{digest}\n")


def run_install(checkout: Path, served: str) -> tuple[int, str, str]:
    command = [checkout / "tools/python", "tools/install.py", "--cpu-index", f"{served}/pytorch"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout, done.stderr


def installed_build(checkout: Path) -> str:
    """The build of torch in the environment, which has the other packages, too."""
    command = [checkout / ".venv/bin/python", "-c", "import rest, project, torch; print(torch.build)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.long
def test_an_index_with_only_what_pypi_has(checkout: Path, served: str) -> None:
    code, printed, errors = run_install(checkout, served)
    assert code == 0, errors
    assert "torch 2.13.0 is the build of PyPI, which also runs on a CPU, since neither" in printed
    assert f"nor {served}/pytorch has 2.13.0+cpu for Python " in printed
    assert installed_build(checkout) == "PyPI"


@pytest.mark.long
def test_the_cpu_build_in_a_folder_then_in_its_index(
    checkout: Path, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PIP_FIND_LINKS", str(tmp_path / "elsewhere"))
        code, printed, errors = run_install(checkout, served)
    assert code == 0, errors
    assert "the CPU build, from where pip is configured to look; " in printed
    assert installed_build(checkout) == "CPU"
    (checkout / ".venv/.installed-cpu").unlink()
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "index/pytorch/torch")
    code, printed, errors = run_install(checkout, served)
    assert code == 0, errors
    assert f"the CPU build, from {served}/pytorch; " in printed
    assert installed_build(checkout) == "CPU"


@pytest.mark.long
def test_a_cpu_build_with_other_bytes_is_refused(checkout: Path, served: str, tmp_path: Path) -> None:
    make_wheel(tmp_path / "index/pytorch/torch", "torch", "2.13.0+cpu", "build = 'tampered with'")
    code, _, errors = run_install(checkout, served)
    assert code == 1
    assert "error: the package index has another file than the lock files pin by hash" in errors
    assert not (checkout / ".venv/.installed-cpu").exists()
    assert not list((checkout / ".venv/lib").glob("python*/site-packages/torch*"))


def ask_pip(index: str) -> None:
    command = (sys.executable, "-m", "pip", "download", *install.QUIET, "--retries", "1", "--no-deps")
    install.run_or_fail([*command, "--index-url", index, "rest"])


def test_a_proxy_that_refuses(served: str, own_pip: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", served)
    with pytest.raises(SystemExit, match=rf"error: the proxy {served} \(of https_proxy\) let nothing through\. Next: "):
        ask_pip("https://index.invalid/simple")


def test_an_index_out_of_reach(own_pip: None) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(SystemExit, match=r"error: no package index was reached\. Next: check the network"):
            ask_pip(f"http://127.0.0.1:{closed.getsockname()[1]}/simple")


def test_an_index_without_the_package(served: str, own_pip: None) -> None:
    with pytest.raises(SystemExit, match="error: no package index that pip reached has rest for this Python"):
        ask_pip(f"{served}/simple")
