"""Proofs of the programs of the tests, in forks of their own process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import inexact_trainings, toy_training
from tests.support.forks import start_as_program
from unbroken.filesystem import FileSystem
from unbroken.preemption import StopFlag
from unbroken.prove.certificate import Certificate
from unbroken.prove.proof import ProofPlan, run_proof

FAULTY = [sys.executable, inexact_trainings.__file__]
TOY = [sys.executable, toy_training.__file__, "{folder}"]


def forked(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    """A launch without the import of torch: a fork of this process."""

    def action() -> None:
        if command[1] == toy_training.__file__:
            folder = Path(command[2])
            toy_training.train(folder, folder / "export", StopFlag.install(), files=FileSystem())
        else:
            inexact_trainings.main(command[2])

    return start_as_program(variables, log, action)


def certify(tmp_path: Path, command: Sequence[str], **options: Any) -> Certificate:
    """The certificate of a command, in a folder `work`; `options` are those of `ProofPlan`."""
    sentences: list[str] = []
    return run_proof(
        ProofPlan(**{"command": command, "work": tmp_path / "work", "launch": forked, **options}), sentences.append
    )
