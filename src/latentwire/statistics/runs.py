"""The training runs behind the predictions: their weights, journals and numerics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentwire.errors import EvidenceError
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.evidence import Evidence, PredictionSource
from latentwire.statistics.signature import format_signature
from unbroken.checkpoint.manifest import MANIFEST_FILE
from unbroken.checkpoint.tree import Decoder
from unbroken.run_folder.journal import JOURNAL_FILE, read_journal

NUMERICS = "numerics"
SLOT_SERIES = {"cosine": "validation/slot_cosine", "effective_rank": "validation/effective_rank"}
"""Fact of a run → the series that it is the last value of."""
SHOWN = 8
"""Characters of a digest in a signature."""


def run_id(task: str, method: str, seed: int | None) -> str:
    """Id of a training run among the numbers."""
    return f"{task}/{method}/{seed}/training"


def run_records(results: Path, evidence: Evidence, mode: str, numerics: str) -> dict[str, StatsRecord]:
    """Every training run, by its id.

    Args:
        results: The folder of all results.
        evidence: The predictions.
        mode: How the processes of a run shared a step, `exact` or `throughput`.
        numerics: Whose kernels computed, `portable` or `native`.

    Raises:
        EvidenceError: A manifest is missing, or the predictions were made with other weights than are there.
    """
    trained = {path: source for path, source in evidence.sources.items() if source.meta["checkpoint"] is not None}
    labels = {"mode": mode, "numerics": numerics}
    return dict(_run(results, path, source, labels) for path, source in trained.items())


def _run(results: Path, path: str, source: PredictionSource, labels: Mapping[str, str]) -> tuple[str, StatsRecord]:
    item, folder = source.item, results / "train" / Path(path).parent.name
    manifest = read_manifest(folder)
    if manifest["state"] != source.meta["checkpoint"]:
        raise EvidenceError(
            f"{path} was made with the weights {str(source.meta['checkpoint'])[:12]}, expected those of "
            f"{results.name}/train/{Path(path).parent.name}, {manifest['state'][:12]}. Next: `dvc repro`."
        )
    journal = str(manifest["files"]["journal.jsonl"]["sha256"])
    return run_id(item.task, item.method, item.seed), {
        "task": item.task,
        "method": item.method,
        "seed": item.seed,
        "steps": manifest["step"],
        **labels,
        "numerics_changed": numerics_changes(manifest["tree"]),
        "identity": manifest["identity"],
        "checkpoint": manifest["state"],
        "journal": journal,
        "slots": _read_slots(folder),
        "sources": [path],
        "signature": format_signature(
            run=item.method, steps=manifest["step"], weights=manifest["state"][:SHOWN], journal=journal[:SHOWN]
        ),
    }


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of the final checkpoint in `results/train/ITEM`, as it was written.

    Raises:
        EvidenceError: There is none.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected what a finished run wrote. Next: `dvc repro`.")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _read_slots(folder: Path) -> dict[str, float]:
    """What the last validation says of the slots, by name; nothing of a method that says none."""
    path = folder / JOURNAL_FILE
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected the journal of a finished run. Next: `dvc repro`.")
    last = read_journal(path)[-1]
    return {name: float(last[series]) for name, series in SLOT_SERIES.items() if series in last}


def numerics_changes(tree: Mapping[str, Any]) -> list[int]:
    """The steps at which a run's numerics changed, each the first with the new ones.

    Its state `numerics` holds `segments`, each with its `first` step; a run that recorded none has no change to show.
    """
    if NUMERICS not in tree:
        return []
    segments = Decoder({}).decode(tree[NUMERICS])["segments"]
    return [int(segment["first"]) for segment in segments[1:]]
