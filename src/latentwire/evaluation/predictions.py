"""Per-example predictions as files: the only thing that tables are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from latentwire.output_files import replace_file, write_text_file

SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("model", pa.string()),
        ("task", pa.string()),
        ("seed", pa.int64()),
        ("example_id", pa.string()),
        ("prediction", pa.string()),
        ("scores", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class MethodScores:
    """Scores of one method on one model."""

    method: str
    model: str
    """The receiver; the sender for a probe; `none` where no model is asked."""
    scores: Tensor
    """[N, C], larger is likelier; the prediction is the first largest."""


def write_predictions(
    folder: Path,
    scored: Iterable[MethodScores],
    example_ids: Sequence[str],
    labels: Sequence[str],
    meta: Mapping[str, Any],
) -> None:
    """Write `predictions.parquet` and `meta.json`; `meta` names task and seed (null where there is none)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for scores in scored for row in _rows(scores, example_ids, labels, meta["task"], meta["seed"])]
    with replace_file(folder / "predictions.parquet") as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
    write_text_file(folder / "meta.json", json.dumps(meta, indent=1, sort_keys=True) + "\n")


def _rows(
    scored: MethodScores, example_ids: Sequence[str], labels: Sequence[str], task: str, seed: int | None
) -> Iterable[dict[str, Any]]:
    best = scored.scores.argmax(dim=1).tolist()
    for example_id, choice, scores in zip(example_ids, best, scored.scores.double().tolist(), strict=True):
        yield {
            "method": scored.method,
            "model": scored.model,
            "task": task,
            "seed": seed,
            "example_id": example_id,
            "prediction": labels[choice],
            "scores": scores,
        }
