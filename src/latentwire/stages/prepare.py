"""Stage `prepare`: examples of every task, and every frozen model verified and ready to load."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire.exits import entry
from latentwire.params import load as params

if TYPE_CHECKING:
    from latentwire.assets import Assets
    from latentwire.models.sources import Source

RESULTS = Path("results/prepare")


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/prepare/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.prepare", description=__doc__)
    parser.parse_args(argv)

    from latentwire.assets import Assets

    prepare(params.load(), Assets(), RESULTS)


def prepare(values: params.Params, assets: Assets, results: Path, cache: Path | None = None) -> None:
    """Write `TASK/examples.parquet` and `TASK/task.json` of every task, and `models.json`, to `results`."""
    from latentwire.models import cache as store
    from latentwire.models.sources import materialise
    from latentwire.tasks.loading import prepare_task, write_task

    for task in values.prepare.tasks:
        write_task(prepare_task(task, values.tasks[task], values.prepare, assets), results / task)
    models = {
        name: _described(
            materialise(name, values.models[name], cache=cache or store.FOLDER, assets=assets, verify=True)
        )
        for name in values.frozen_models()
    }
    text = json.dumps(models, indent=2, sort_keys=True)
    (results / "models.json").write_text(text + "\n", encoding="utf-8")


def _described(source: Source) -> dict[str, str | None]:
    return {
        "sha256": source.sha256,
        "family": source.family,
        "license": source.license,
        "digest": source.digest,
    }


if __name__ == "__main__":
    entry(main)
