"""Wheels and local files → `results/prepare/`: the examples of every task, and a record of every frozen model."""

from __future__ import annotations

import json
from pathlib import Path

from latentwire.assets import Assets
from latentwire.models import cache as store
from latentwire.models.sources import Source, materialise_model
from latentwire.params.load import Params
from latentwire.tasks.loading import prepare_task, write_task

RESULTS = Path("results/prepare")


def prepare_inputs(
    values: Params, assets: Assets | None = None, results: Path = RESULTS, cache: Path = store.FOLDER
) -> None:
    """Write `TASK/examples.parquet` and `TASK/task.json` of every task, and `models.json`, to `results`.

    Args:
        values: All parameters.
        assets: Wheels of packaged tasks and models; by default `assets/` and `assets.lock`.
        results: The folder that is written.
        cache: Folder of converted models.
    """
    assets = assets or Assets()
    for task in values.prepare.tasks:
        write_task(prepare_task(task, values.tasks[task], values.prepare, assets), results / task)
    models = {
        name: _describe(materialise_model(name, values.models[name], cache=cache, assets=assets, verify=True))
        for name in values.frozen_models()
    }
    text = json.dumps(models, indent=2, sort_keys=True)
    (results / "models.json").write_text(text + "\n", encoding="utf-8")


def _describe(source: Source) -> dict[str, str | None]:
    return {
        "sha256": source.sha256,
        "family": source.family,
        "license": source.license,
        "digest": source.digest,
    }
