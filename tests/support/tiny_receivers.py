"""Receivers that are real and small: random weights, two layers, the words of the tiny task."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from latentwire.models.loading import load_model
from latentwire.models.receiver import Receiver
from latentwire.params.sources import LocalModel
from latentwire.rehearsal.tiny import ANCHOR, LABELS, PRIMER, tiny_causal_model


def make_receiver(folder: Path, family: Literal["llama", "gemma3_text"] = "llama") -> Receiver:
    """Save a tiny model in `folder/FAMILY`, and load it in float32."""
    spec = LocalModel(**tiny_causal_model(folder / family, family))
    frozen = load_model(family, spec, dtype="float32", cache_dir=folder / "cache")
    return Receiver(frozen, PRIMER, ANCHOR, list(LABELS.values()))
