"""The repository that is verified, and its statistics beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latentwire.verification.code_changes import CodeNow
from latentwire.verification.judgement import Judgement
from latentwire.verification.lockfile import Lock
from latentwire.verification.published import Unknown
from latentwire.verification.rebuild import Rebuilt
from latentwire.verification.rows import Status


@dataclass(frozen=True)
class LocalResults:
    """The repository being verified: its own lock (what its stages wrote), parameters and rebuilt evidence."""

    root: Path
    lock: Lock
    params: Mapping[str, Any]
    tolerances: Mapping[str, float]
    rebuilt: Rebuilt
    judgement: Judgement | None
    """Its statistics beside the published ones; None where either are not here."""
    disproofs: Mapping[str, str]
    """Stage → why its outs cannot be true, whatever was published."""

    @cached_property
    def code_now(self) -> CodeNow:
        """The code of the repository."""
        return CodeNow(self.root)

    def about(self, ids: list[str] | None) -> tuple[Status, str]:
        """Status of what shows the numbers with these ids, all for None, and the first reason."""
        if self.rebuilt.stats is None:
            return Status.CONTRADICTED, str(self.rebuilt.refusal)
        if self.judgement is None:
            return Status.NOT_VERIFIABLE, Unknown.without("statistics")
        return self.judgement.about(ids)
