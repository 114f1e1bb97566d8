"""What the evidence commands print, and their exit codes."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from latentwire.verification import rows as answers
from latentwire.verification.rows import Row


def verify(root: Path, where: str | None, again: bool) -> int:
    """Print a row per stage, table and figure; 0, 3 or 4.

    Raises:
        UnverifiableError: There is nothing to compare with.
    """
    from latentwire.verification import published, recompute, verify

    reference = published.find(root, where)
    if again:
        with tempfile.TemporaryDirectory(prefix="latentwire-recompute-") as folder:
            found = verify.verify(recompute.recompute(root, reference, Path(folder)), reference)
    else:
        found = verify.verify(root, reference)
    show(found)
    print(answers.summary(found, reference.label))
    return answers.exit_code(found)


def archive(root: Path, target: Path, where: str | None, draft: bool) -> int:
    """Verify, then write the archive; 0, or the error of what speaks against it.

    Raises:
        EvidenceError: It is not clean, and no draft was asked for.
        UnverifiableError: The same, because there is nothing to compare with.
    """
    from latentwire.verification import archive, published, verify
    from latentwire.verification.lockfile import UnverifiableError

    try:
        why = archive.reasons(root, verify.verify(root, published.find(root, where)))
    except UnverifiableError as error:
        if not draft:
            raise
        why = [str(error)]
    if not draft:
        archive.refuse(why)
    written = archive.archive(root, target, why)
    print(f"{len(archive.parts_of(written))} files in {written}{' (DRAFT)' if why else ''}")
    return 0


def execution(root: Path) -> int:
    """Write the report of this execution."""
    from latentwire.params import load
    from latentwire.verification.execution import appendix

    for path in appendix.write(root, appendix.gather(root, load(root / "params.yaml"))):
        print(path)
    return 0


def doctor(root: Path, as_json: bool, of_image: bool) -> int:
    """Print every check of this machine or of the image; 0, or 1 where something is missing."""
    from latentwire.verification import doctor, image

    checks = image.examine(root) if of_image else doctor.examine(root)
    if as_json:
        print(json.dumps(doctor.as_json(checks), indent=1, ensure_ascii=False))
    elif sys.stdout.isatty():
        Console().print(doctor.table(checks))
    else:
        print("\n".join(doctor.lines(checks)))
    return doctor.exit_code(checks)


def memory(root: Path, as_json: bool) -> int:
    """Print what a training process holds; 1 where not all that the train stage starts here fit."""
    from latentwire.params import load
    from latentwire.verification.memory import plan

    planned = plan(load(root / "params.yaml"), root)
    print(json.dumps(planned.as_json(), indent=1) if as_json else "\n".join(planned.lines()))
    return int(not planned.fits)


def show(found: list[Row]) -> None:
    """A table on a terminal, a line a row elsewhere."""
    if sys.stdout.isatty():
        Console().print(answers.table(found))
    else:
        print("\n".join(answers.lines(found)))
