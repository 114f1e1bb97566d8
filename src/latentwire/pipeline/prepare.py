"""Wheels and local files → `results/prepare/`: the examples of every task, and a record of every frozen model."""

from __future__ import annotations

import json
from pathlib import Path

from latentwire.assets import Assets
from latentwire.models import cache as store
from latentwire.models.limits import check_model_limits
from latentwire.models.sources import Source, materialise_model
from latentwire.output_files import write_text_file
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
    sources = [
        materialise_model(name, values.models[name], cache=cache, assets=assets, verify=True)
        for name in values.frozen_models()
    ]
    check_model_limits(values, {source.name: source for source in sources})
    text = json.dumps({source.name: _describe(source) for source in sources}, indent=2, sort_keys=True)
    write_text_file(results / "models.json", text + "\n")


def _describe(source: Source) -> dict[str, str | None]:
    return {
        "sha256": source.sha256,
        "family": source.family,
        "license": source.license,
        "digest": source.digest,
    }
