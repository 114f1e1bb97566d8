"""The image that a process runs from: which code is built in, and whether a clone next to it has the same code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from latentwire import environment
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError

IMAGE_FILE = "latentwire-image.json"
"""Written by Apptainer.def into the environment's folder."""
PACKAGES = ("latentwire", "unbroken")
INSTALLED_SOURCE = Path(__file__).parent.parent
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """What Apptainer.def recorded: a commit (40 hex), `clean` or `dirty`, and the build of torch."""

    commit: str
    tree: str
    torch: str

    def __str__(self) -> str:
        changed = "" if self.tree == "clean" else " with changes that were not committed"
        return f"commit {self.commit[:12]}{changed}"


def find_image(prefix: Path = Path(sys.prefix)) -> Image | None:
    """The image that this interpreter is part of; None outside an image."""
    try:
        return Image(**json.loads((prefix / IMAGE_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Clone:
    """A folder that may be a clone of the repository."""

    root: Path

    @cached_property
    def has_source(self) -> bool:
        """Whether the source of the packages is here."""
        return all((self.root / "src" / package / "__init__.py").is_file() for package in PACKAGES)

    def differences(self) -> list[str]:
        """Source files that are not byte for byte the installed ones, or that only one side has."""
        ours, theirs = _digests(self.root / "src"), _digests(INSTALLED_SOURCE)
        return [f"src/{name}" for name in sorted(ours.keys() | theirs) if ours.get(name) != theirs.get(name)]


def check_image_code(root: Path = Path(), image: Image | None = None) -> None:
    """Check that a stage would not run the image's code while DVC records the clone's.

    Raises:
        ConfigurationError: This runs from an image, and its code is not the image's, or not the clone's in `root`.
    """
    image = image or find_image()
    if image is None:
        return
    if not INSTALLED_SOURCE.is_relative_to(sys.prefix):
        raise ConfigurationError(
            f"This is Python of the image of {image}, but latentwire was imported from {INSTALLED_SOURCE}; expected "
            f"{sys.prefix}. Next: `unset PYTHONPATH`, and start it without --env PYTHONPATH."
        )
    clone = Clone(root)
    if not clone.has_source or not (other := clone.differences()):
        return
    raise ConfigurationError(
        f"The image has the code of {image}, but the clone in {root.resolve()} has other code: {_list_some(other)}. "
        "A stage would run the one and record the other. "
        f"Next: `make image` in the clone, or `git checkout {image.commit[:12]}`."
    )


def describe_image() -> str | None:
    """What an execution record says about the image: its digest, `sha256:` and 64 hex; None outside an image.

    The digest comes from LATENTWIRE_IMAGE_DIGEST, else from the file `IMAGE.sha256` that `make image` wrote beside the
    image, where that is visible from inside; with neither, the commit is named instead.

    Raises:
        ConfigurationError: LATENTWIRE_IMAGE_DIGEST is no SHA-256.
    """
    image = find_image()
    if image is None:
        return None
    digest = environment.image_digest() or _digest_beside(environment.container_image())
    if digest is None:
        return f"{image}, digest unknown"
    if not _DIGEST.fullmatch(digest.removeprefix("sha256:")):
        raise ConfigurationError(
            f"{environment.IMAGE_DIGEST} is {digest!r}, expected 64 hex. "
            f'Next: export {environment.IMAGE_DIGEST}="$(cut -c1-64 latentwire.sif.sha256)".'
        )
    return f"sha256:{digest.removeprefix('sha256:')}"


def _digest_beside(container: Path | None) -> str | None:
    """The first word of the file beside the image; None where there is no such file."""
    try:
        words = Path(f"{container}.sha256").read_text(encoding="utf-8").split() if container else []
    except OSError:
        return None
    return words[0] if words else None


def _digests(folder: Path) -> Mapping[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in _sources(folder)}


def _sources(folder: Path) -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in (folder / package).rglob("*") if _is_source(path))


def _is_source(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".py" or path.parent.name == "templates")


def _list_some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
