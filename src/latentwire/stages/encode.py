"""Stage `encode`: the sender's hidden states of every text of a task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from latentwire.exits import entry
from latentwire.params import load as params


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/encode/TASK/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.encode", description=__doc__)
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    values, task = params.load(), parser.parse_args(argv).task
    encode(values, params.chosen("--task", task, values.prepare.tasks))


def encode(values: params.Params, name: str) -> None:
    """Encode all splits of a task with the frozen sender."""
    from latentwire.console.progress import progress
    from latentwire.models import features
    from latentwire.models.build import frozen, settle_runtime
    from latentwire.tasks.examples import SPLITS
    from latentwire.tasks.stored import StoredTask
    from unbroken.preemption import StopFlag

    settle_runtime(values.runtime)
    stop, chosen = StopFlag.install(), values.encode
    task = StoredTask.open(name)
    sender = frozen(values, chosen.sender, "encoder", "float32")
    splits = [(split, task.split(split)) for split in SPLITS]
    with progress(len(task.examples), f"encode {name}") as bar:

        def advance(texts: int) -> None:
            stop.check()
            bar.advance(texts)

        features.write(
            Path("results/encode") / name,
            [(split, [e.example_id for e in rows], [e.text for e in rows]) for split, rows in splits],
            lambda texts: features.hidden_states(sender, texts, chosen.layer, chosen.max_tokens),
            chosen.batch,
            advance,
            {"data": task.digest, "sender": sender.digest, "layer": chosen.layer, "max_tokens": chosen.max_tokens},
        )


if __name__ == "__main__":
    entry(main)
