"""`python -m tools.profiles NAME`: the clone in which `make repro PROFILE=NAME` runs the pipeline, ready to go on.

It is at the commit of this checkout, with the parameters of `profiles/NAME.yaml` committed on top of it, since a job of
a cluster runs a commit. What the pipeline computed there stays: the same command again goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from latentwire.dvc_files import check_no_other_dvc, list_inputs
from latentwire.errors import ConfigurationError
from latentwire.exits import run_program
from latentwire.git import changed_files, commit_everything, read_committed, resolve_commit
from latentwire.output_files import write_text_file
from latentwire.params.overrides import PROFILES, read_profile
from latentwire.rehearsal.sandbox import PUBLISHED, write_activate
from tools.clones import check_clone, committed, link_beside, update_clone

FOLDER = Path(".cache/profiles")
BRANCH = "profile"
BESIDE = ("assets", ".cache/models", ".venv", "latentwire.sif", "latentwire.sif.sha256", "slurm/site.env")
"""What git does not hold, and the stages or a job need."""
PARAMETERS = "params.yaml"
_OWN = Path(".cache/profile-commit")
"""The commit of the parameters in a clone; not there while one is made."""
_WRITTEN = ("dvc.lock", "results/", "reports/", "README.md")
"""What the pipeline writes."""
_UNCOMMITTED = (*_WRITTEN, f"{PROFILES}/")
"""What need not be committed in the checkout: the values of a profile are, in the clone."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make or update the clone of a profile, and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m tools.profiles", description=__doc__)
    parser.add_argument("name", help="of profiles/NAME.yaml")
    name = parser.parse_args(argv).name
    print(f"Profile {name} is in {open_profile(Path(), name)}", flush=True)


def open_profile(root: Path, name: str) -> Path:
    """The clone of a profile of the checkout at `root`, at its commit and with these parameters.

    Raises:
        ConfigurationError: There is no such profile, it is wrong, or the checkout has changes of other files.
        LatentWireError: There is no commit, git failed, or the pipeline runs there.
    """
    values = read_profile(root / PARAMETERS, name)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    profile = ProfileClone(root.resolve(), root.resolve() / FOLDER / name, text)
    check_no_other_dvc(profile.clone)
    profile.check_changes()
    if not profile.is_current:
        profile.renew(f"Profile {name}")
    for beside in BESIDE:
        link_beside(root, profile.clone, beside)
    write_activate(profile.clone)
    return profile.clone


@dataclass(frozen=True)
class ProfileClone:
    """The clone of a checkout in which the pipeline runs with a profile's parameters."""

    root: Path
    """The checkout."""
    clone: Path
    text: str
    """The profile's params.yaml."""

    @cached_property
    def commit(self) -> str:
        """That of the checkout.

        Raises:
            LatentWireError: There is none.
        """
        return committed(self.root)

    @property
    def own_commit(self) -> str | None:
        """That of the parameters in the clone; None where there is no clone, or one that was not finished."""
        path = self.clone / _OWN
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    @property
    def is_current(self) -> bool:
        """Whether the clone has these parameters on top of the commit of the checkout."""
        own = self.own_commit
        if own is None or resolve_commit(self.clone, f"{own}~1") != self.commit:
            return False
        return read_committed(self.clone, own, PARAMETERS) == self.text.encode()

    def check_changes(self) -> None:
        """Refuse what the clone would not have, and what an update of it would undo.

        Raises:
            ConfigurationError: The checkout has changes that are not committed, or the clone was changed by hand.
        """
        why = f"A profile runs commit {self.commit[:12]}, and {self.root} differs from it"
        _check_same(changed_files(self.root), _UNCOMMITTED, why, "`git commit` or `git restore`")
        check_clone(self.clone)
        own = self.own_commit
        if own is not None:
            why = f"{self.clone} was changed by hand, which an update would undo"
            undo = f"move the change to {self.root}, then `git checkout {own[:12]} -- FILE`"
            _check_same(changed_files(self.clone, own), _WRITTEN, why, undo)

    def renew(self, message: str) -> None:
        """Bring the clone to the commit; what the pipeline has recorded there is kept, what others published is not.

        The records are committed first, so that they are found again if this is interrupted.
        """
        branch = resolve_commit(self.clone, BRANCH) if self.clone.is_dir() else None
        if branch is not None and resolve_commit(self.clone) == branch:
            commit_everything(self.clone, BRANCH, "What was computed")
        (self.clone / _OWN).unlink(missing_ok=True)
        update_clone(self.root, self.clone)
        for name in PUBLISHED:
            self._restore(name)
        write_text_file(self.clone / PARAMETERS, self.text)
        list_inputs(self.clone)
        commit_everything(self.clone, BRANCH, message)
        (self.clone / _OWN).parent.mkdir(exist_ok=True)
        write_text_file(self.clone / _OWN, f"{resolve_commit(self.clone)}\n")

    def _restore(self, name: str) -> None:
        """Let the clone have its own record, or none."""
        own = read_committed(self.clone, BRANCH, name)
        (self.clone / name).unlink(missing_ok=True)
        if own is not None:
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / name).write_bytes(own)


def _check_same(changed: Iterable[str], but: tuple[str, ...], why: str, following: str) -> None:
    others = [path for path in changed if not path.startswith(but)]
    if others:
        listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise ConfigurationError(f"{why}: {listed}; expected nothing else there. Next: {following} there.")


if __name__ == "__main__":
    sys.exit(run_program(main))
