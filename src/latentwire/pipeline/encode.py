"""Examples of a task and the frozen sender → `results/encode/TASK/`."""

from __future__ import annotations

from pathlib import Path

from latentwire.console.progress import stoppable_progress
from latentwire.models import features
from latentwire.models.build import configure_torch, load_frozen
from latentwire.params.load import Params
from latentwire.tasks.examples import SPLITS
from latentwire.tasks.stored import StoredTask


def encode_task(values: Params, name: str) -> None:
    """Encode all splits of a task with the frozen sender."""
    configure_torch(values.runtime)
    settings, task = values.encode, StoredTask.open(name)
    sender = load_frozen(values, settings.sender, "encoder", "float32")
    splits = [(split, task.split(split)) for split in SPLITS]
    with stoppable_progress(len(task.examples), f"encode {name}") as advance:
        features.write_features(
            Path("results/encode") / name,
            [(split, [e.example_id for e in rows], [e.text for e in rows]) for split, rows in splits],
            lambda texts: features.compute_hidden_states(sender, texts, settings.layer, settings.max_tokens),
            settings.batch,
            advance,
            {"data": task.digest, "sender": sender.digest, "layer": settings.layer, "max_tokens": settings.max_tokens},
        )
