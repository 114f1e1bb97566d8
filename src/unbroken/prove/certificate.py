"""What `prove` found, as JSON with a seal and as a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from unbroken.canonical_json import digest_json
from unbroken.environment import processor_name
from unbroken.prove.beside import LostObject
from unbroken.prove.census import MOST_OBJECTS
from unbroken.prove.runs import Difference, RunEvidence

SCHEMA = "unbroken-certificate/2"
EXIT = {"identical": 0, "differs": 3, "could not be verified": 4}

CUT_CENSUS = (
    f"beside the state not all was looked at: of more than {MOST_OBJECTS} objects, those nearest to the program's "
    "variables"
)


@dataclass(frozen=True)
class ControlResult:
    """One part of the state that was dropped on purpose, and what that changed."""

    part: str
    difference: Difference | None
    stateless: bool
    crash: str | None = None
    """How the program failed, which says nothing about the loss: any program may fail for any reason."""

    @property
    def was_noticed(self) -> bool:
        """Was the loss seen?"""
        return self.difference is not None

    @property
    def has_failed(self) -> bool:
        """Was it missed, although nobody declared that it has no effect?"""
        return self.difference is None and self.crash is None and not self.stateless

    def describe(self) -> str:
        """The finding, for the table."""
        if self.crash:
            return f"NOT KNOWN: {self.crash}"
        if self.difference:
            return f"differs from {self.difference.describe()}"
        return "no effect, as declared" if self.stateless else "NO DIFFERENCE"


@dataclass(frozen=True)
class Certificate:
    """`exit_code`: 0 identical, 3 differs, 4 could not be verified."""

    verdict: str
    sentence: str
    fields: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """The exit code of `prove`."""
        return EXIT[self.verdict]

    def to_table(self) -> str:
        """A table for people."""
        rows = [("verdict", self.verdict), ("finding", self.sentence), ("command", " ".join(self.fields["command"]))]
        rows += [("interrupted", text) for text in self.fields["interruptions"]]
        rows += [(f"without {control['part']}", control["finding"]) for control in self.fields["controls"]]
        rows += [(f"beside: {each['path']}", each["finding"]) for each in self.fields["beside"]]
        rows += [("beside", CUT_CENSUS)] if self.fields["census_cut"] else []
        for run in ("reference", "interrupted run"):
            for name, value in self.fields["runs"].get(run, {}).items():
                if name != "tensors":
                    rows.append((f"{run}: {name}", str(value)))
        rows += [(name, str(value)) for name, value in self.fields["environment"].items()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows) + "\n"

    def to_json(self) -> bytes:
        """All of it; `seal` is the SHA-256 of the canonical JSON of the rest."""
        fields = {"schema": SCHEMA, "verdict": self.verdict, "finding": self.sentence, **self.fields}
        return json.dumps({**fields, "seal": digest_json(fields)}, indent=1, sort_keys=True).encode() + b"\n"

    def write(self, path: Path) -> None:
        """Write the JSON to `path` and the table beside it as `.txt`.

        Raises:
            OSError: The disk refused.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_json())
        path.with_suffix(".txt").write_text(self.to_table(), encoding="utf-8")


@dataclass
class ProofLog:
    """What is collected while the proof goes on, and the certificate made of it."""

    command: Sequence[str]
    sabotage: str | None
    ignored: Sequence[str] = ()
    """Patterns of files that were not compared."""
    files: int | None = None
    """How many were, besides the checkpoints."""
    interruptions: list[str] = field(default_factory=list)
    controls: list[ControlResult] = field(default_factory=list)
    beside: list[LostObject] = field(default_factory=list)
    """What the program holds beside its state and interruptions change."""
    is_census_cut: bool = False
    """The program holds more objects than a census looks at."""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add_reference(self, evidence: RunEvidence) -> None:
        """The undisturbed run has ended."""
        self.runs["reference"] = _describe_run(evidence)

    def add_interrupted(self, evidence: RunEvidence) -> None:
        """The interrupted run has ended."""
        self.runs["interrupted run"] = _describe_run(evidence)

    def certify_identical(self) -> Certificate:
        """The runs are equal, and every control was noticed."""
        count, steps = len(self.runs["reference"]["tensors"]), self.runs["reference"]["steps"]
        times = len(self.interruptions)
        return self._certificate(
            "identical",
            f"{count} tensors and the metrics are the same after each of {steps} steps, and {self.files} files at the "
            f"end, {times} times interrupted{f'; {CUT_CENSUS}' if self.is_census_cut else ''}",
        )

    def certify_difference(self, difference: Difference) -> Certificate:
        """The runs are not equal."""
        return self._certificate(
            "differs", f"first at {difference.describe()}", {"step": difference.step, "places": difference.places}
        )

    def certify_unverified(self, why: str) -> Certificate:
        """There is no answer."""
        return self._certificate("could not be verified", why)

    def _certificate(self, verdict: str, sentence: str, first: dict[str, Any] | None = None) -> Certificate:
        controls = [
            {"part": control.part, "noticed": control.was_noticed, "finding": control.describe()}
            for control in self.controls
        ]
        fields = {
            "command": list(self.command),
            "sabotage": self.sabotage,
            "files": self.files,
            "ignored": list(self.ignored),
            "interruptions": self.interruptions,
            "controls": controls,
            "beside": [
                {"path": each.path, "type": each.kind, "places": list(each.places), "finding": each.describe()}
                for each in self.beside
            ],
            "census_cut": self.is_census_cut,
            "runs": self.runs,
            "first_difference": first,
            "environment": _describe_environment(),
        }
        return Certificate(verdict, sentence, fields)


def _describe_environment() -> dict[str, str]:
    """Versions and hardware that the certificate holds for."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "processor": f"{processor_name()}, {os.cpu_count()} cores",
        "GPU": ", ".join(gpus) or "none",
    }


def _describe_run(evidence: RunEvidence) -> dict[str, Any]:
    newest = evidence.newest
    return {
        "steps": newest.step,
        "state": newest.manifest.state,
        "journal": newest.manifest.journal[1],
        "tensors": dict(evidence.digests()),
    }
