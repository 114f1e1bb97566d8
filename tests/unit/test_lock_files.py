"""The lock files: every Python and machine finds each package once, with its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from tools import lock
from tools.install import read_download, read_pin
from tools.targets import MACHINES, TARGETS, Target

ROOT = Path(__file__).parents[2]
LOCKS = {
    name: (ROOT / name).read_text() for name in ("requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock")
}
PIN = re.compile(r"^([a-z0-9-]+)==(\S+?)(?: ; (.*?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)
HOST = "https://index.invalid/"
FIRST, LAST = TARGETS[0], TARGETS[-1]


def pins(name: str, target: Target) -> dict[str, str]:
    """Package → version of one lock file, for one Python and machine; each package once."""
    found = PIN.findall(LOCKS[name])
    here = [(package, version) for package, version, marker, _ in found if _holds(marker, target)]
    assert len({package for package, _ in here}) == len(here) > 0
    return dict(here)


def _holds(marker: str, target: Target) -> bool:
    return not marker or Marker(marker).evaluate(target.environment())


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pin_with_hashes(name: str) -> None:
    text = LOCKS[name]
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert comments + "".join(found[0] for found in PIN.finditer(text)) == text
    assert all(int(megabytes) > 100 for megabytes in re.findall(r"(\d+) MB on", comments))
    assert re.findall(r"MB on (\w+)", comments) == list(MACHINES)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("build", ["cpu", "cuda"])
def test_what_is_asked_for_is_pinned_on_every_machine(target: Target, build: str) -> None:
    pinned = pins("requirements.lock", target) | pins(f"requirements-{build}.lock", target)
    lines = (ROOT / "requirements.in").read_text().splitlines()
    asked = [Requirement(line) for line in lines if not line.startswith("#")]
    asked += [
        Requirement(line) for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    for requirement in asked:
        if requirement.marker is None or requirement.marker.evaluate(target.environment()):
            assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_versions_are_the_same_everywhere(target: Target) -> None:
    """Results depend on them."""
    for name in LOCKS:
        reference = pins(name, Target("3.11", "x86_64"))
        assert pins(name, target).items() <= reference.items()


def test_torch_is_one_version_in_two_builds() -> None:
    cpu, cuda = (read_pin(ROOT / f"requirements-{build}.lock") for build in ("cpu", "cuda"))
    assert cpu == f"{cuda}+cpu" == f"{lock.CPU_TORCH}+cpu"
    assert "torch" not in pins("requirements.lock", FIRST)
    assert set(re.findall(r"sha256:(\w+)", LOCKS["requirements-cpu.lock"])) == set(lock.CPU_WHEELS.values())
    assert set(lock.CPU_WHEELS) == set(TARGETS)
    assert len(set(lock.CPU_WHEELS.values())) == len(TARGETS)


def test_what_is_downloaded_is_read_for_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "some.lock"
    file.write_text("# A comment.\n# Downloads: 12 MB on x86_64, 345 MB on aarch64.\n")
    for machine, megabytes in (("x86_64", 12), ("aarch64", 345)):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert read_download(file) == megabytes


def block(marker: str) -> str:
    return f"a==1{marker and f' ; {marker}'} \\\n    --hash=sha256:aa"


@pytest.mark.parametrize(
    ("marker", "kept"),
    [
        ("", ""),
        ("sys_platform == 'linux'", ""),
        ("platform_machine == 'aarch64' or platform_machine == 'x86_64'", ""),
        ("python_full_version >= '3.13'", "python_full_version >= '3.13'"),
        ("platform_machine == 'x86_64'", "platform_machine == 'x86_64'"),
        ("sys_platform == 'win32'", None),
        ("python_full_version >= '3.14'", None),
    ],
)
def test_only_markers_that_tell_machines_apart_are_kept(marker: str, kept: str | None) -> None:
    assert lock.read_blocks(f"# a comment\n{block(marker)}\n") == ([] if kept is None else [block(kept)])


def wheel(tags: str, size: int = 0) -> dict[str, object]:
    return {"url": f"{HOST}a-1-{tags}.whl", "size": size}


def test_the_wheel_that_pip_would_take() -> None:
    pure, stable = wheel("py3-none-any"), wheel("cp39-abi3-manylinux2014_x86_64")
    exact = wheel("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64")
    foreign = [
        wheel(f"cp311-cp311-{platform}") for platform in ("win_amd64", "musllinux_1_2_x86_64", "manylinux_2_34_x86_64")
    ]
    assert FIRST.best_wheel([*foreign, pure, stable, exact]) == exact
    assert FIRST.best_wheel([*foreign, pure, stable]) == stable
    assert LAST.best_wheel([pure, stable, exact]) == pure
    assert LAST.best_wheel([stable, exact]) is None
    assert FIRST.best_wheel(foreign) is None


def test_sizes_are_those_of_the_python_that_needs_most() -> None:
    files = [
        wheel("cp311-cp311-linux_x86_64", 5),
        wheel("cp312-abi3-linux_x86_64", 7),
        wheel("py3-none-linux_aarch64", 3),
    ]
    packages = [
        {"name": "a", "version": "1", "wheels": files},
        {"name": "b", "version": "1", "wheels": [wheel("py3-none-any", 10)], "marker": "platform_machine == 'aarch64'"},
        {"name": "antlr4-python3-runtime", "version": "1", "sdist": {"size": 100}},
        {"name": "not of this lock", "version": "1", "wheels": []},
    ]
    blocks = [block(""), "b==1 \\\n", "antlr4-python3-runtime==1 \\\n"]
    assert lock.download_sizes(blocks, packages) == {"x86_64": 107, "aarch64": 113}


def test_a_pin_without_a_wheel_for_a_machine_is_no_lock() -> None:
    packages = [{"name": "a", "version": "1", "wheels": [wheel("cp311-cp311-linux_x86_64")]}]
    with pytest.raises(
        SystemExit, match=r"a==1 has no wheel for Python 3\.12 on Linux x86_64; .* Next: give it another"
    ):
        lock.download_sizes([block("")], packages)


def test_digests_of_another_torch_are_no_lock() -> None:
    assert lock.cpu_block([block(""), f"torch=={lock.CPU_TORCH} \\\n"]).startswith(f"torch=={lock.CPU_TORCH}+cpu \\\n")
    with pytest.raises(
        SystemExit, match=r"torch 9\.9 was resolved, and .* Next: put those that .*/torch/ lists for 9\.9"
    ):
        lock.cpu_block(["torch==9.9 \\\n"])
