"""What defines the run of an item: parameters, data, frozen models, code, seed (invariant I1)."""

from __future__ import annotations

import json
from pathlib import Path

from latentwire.digests import sha256_of
from latentwire.item import TrainItem, defining_params
from latentwire.models.features import Features
from latentwire.params.load import Params
from latentwire.result_code import result_code
from latentwire.tasks.stored import MODELS, StoredTask
from unbroken.canonical_json import JSON
from unbroken.run_folder.identity import Identity


def identity(values: Params, item: TrainItem, root: Path = Path()) -> Identity:
    """What defines an item's run: parameters, data, frozen models, code and seed (invariant I1).

    Args:
        values: All parameters.
        item: The item.
        root: The repository, which holds the results of `prepare` and `encode`.

    Raises:
        ConfigurationError: Those results are not there.
    """
    task = StoredTask.open(item.task, root)
    models = json.loads((root / MODELS).read_text(encoding="utf-8"))
    features = Features.file(root / item.features)
    names = (values.encode.sender, *values.methods[item.method].receivers)
    parts: dict[str, JSON] = {
        "item": {"method": item.answers_as, "task": item.task},
        "params": defining_params(values, item),
        "data": {"examples": task.digest, "features": sha256_of(features)},
        "models": {name: models[name]["digest"] for name in sorted(set(names))},
        "code": dict(result_code("train")),
        "seed": item.seed,
    }
    return Identity(parts)
