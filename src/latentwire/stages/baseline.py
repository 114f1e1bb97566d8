"""Stage `baseline`: predictions of everything that has no seed, computed once per task."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.exits import entry
from latentwire.params import load as params

if TYPE_CHECKING:
    from torch import Tensor

    from latentwire.evaluation.predictions import Scored
    from latentwire.models.receiver import Receiver
    from latentwire.tasks.stored import StoredTask

    Made = tuple[Sequence[Scored], float]
    """Scores, and the bytes that the predictor was given about an example."""

SEES: Mapping[str, Mapping[str, bool]] = {
    "majority": {"text": False, "labels": False, "features": False},
    "probe": {"text": False, "labels": False, "features": True},
    "text": {"text": True, "labels": True, "features": False},
    "calibrated": {"text": True, "labels": True, "features": False},
    "truncated": {"text": True, "labels": True, "features": False},
}
"""What each baseline is given about an example and about the label names."""
CALIBRATED = ("calibrated", "truncated")
"""Text baselines whose scores have the label prior subtracted: without that, a small model mostly says one label."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/baseline/TASK/METHOD/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.baseline", description=__doc__)
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    values, task = params.load(), parser.parse_args(argv).task
    baseline(values, params.chosen("--task", task, values.prepare.tasks))


def baseline(values: params.Params, name: str) -> None:
    """Predict the test split of a task with every baseline."""
    from latentwire.evaluation.predictions import write
    from latentwire.models.build import settle_runtime
    from latentwire.tasks.stored import StoredTask

    settle_runtime(values.runtime)
    task = StoredTask.open(name)
    text = _TextBaselines(values, task)
    makers: dict[str, Callable[[], Made]] = {
        "majority": lambda: _majority(values, task),
        "probe": lambda: _probe(values, task),
        "text": lambda: text.made("text", values.baseline.max_tokens),
        "calibrated": lambda: text.made("calibrated", values.baseline.max_tokens),
        "truncated": lambda: text.made("truncated", values.methods[values.baseline.budget_of].slots),
    }
    ids, labels = [example.example_id for example in task.split("test")], list(values.tasks[name].labels)
    for method in values.baseline.methods:
        scored, size = makers[method]()
        write(Path("results/baseline") / name / method, scored, ids, labels, _meta(method, task, size))


class _TextBaselines:
    """Receivers that read the text itself, loaded once for both text baselines."""

    def __init__(self, values: params.Params, task: StoredTask) -> None:
        self._values, self._task = values, task.name
        self._texts = [example.text for example in task.split("test")]
        self._receivers: list[Receiver] = []
        self._done: dict[int, Mapping[str, Tensor]] = {}

    def made(self, method: str, max_tokens: int) -> Made:
        """Scores of every receiver for the first `max_tokens` tokens, and the mean UTF-8 bytes of those."""
        from latentwire.evaluation.predictions import Scored
        from latentwire.evaluation.scoring import label_prior

        calibrated = method in CALIBRATED
        scores = self._scores(max_tokens)
        scored = [
            Scored(method, r.name, scores[r.name] - label_prior(r) if calibrated else scores[r.name])
            for r in self._receivers
        ]
        given = [r.decode(r.tokenise(text)[:max_tokens]) for r in self._receivers for text in self._texts]
        return scored, sum(len(text.encode()) for text in given) / len(given)

    def _scores(self, max_tokens: int) -> Mapping[str, Tensor]:
        """Receiver name → label scores [N, C]; computed once for each number of tokens."""
        from latentwire.console.progress import progress
        from latentwire.evaluation.scoring import score_texts
        from latentwire.models.build import receivers
        from unbroken.preemption import StopFlag

        if max_tokens in self._done:
            return self._done[max_tokens]
        stop, values, texts = StopFlag.install(), self._values, self._texts
        self._receivers = self._receivers or receivers(values, values.receivers, self._task)
        with progress(len(texts) * len(self._receivers), f"{self._task}, texts of {max_tokens} tokens") as bar:

            def advance(examples: int) -> None:
                stop.check()
                bar.advance(examples)

            self._done[max_tokens] = {
                receiver.name: score_texts(receiver, texts, max_tokens, values.evaluate.batch, advance)
                for receiver in self._receivers
            }
        return self._done[max_tokens]


def _majority(values: params.Params, task: StoredTask) -> Made:
    from latentwire.evaluation.predictions import Scored
    from latentwire.models.baselines import majority

    labels = list(values.tasks[task.name].labels)
    train = [labels.index(example.label) for example in task.split("train")]
    return [Scored("majority", "none", majority(train, len(labels), len(task.split("test"))))], 0.0


def _probe(values: params.Params, task: StoredTask) -> Made:
    from latentwire.evaluation.predictions import Scored
    from latentwire.models.baselines import probe
    from latentwire.models.features import Features

    labels = list(values.tasks[task.name].labels)
    golds = [labels.index(example.label) for example in task.split("train")]
    train, test = (Features.open(Path("results/encode") / task.name, split).means() for split in ("train", "test"))
    scores = probe(train, golds, test, values.baseline.probe_c)
    return [Scored("probe", values.encode.sender, scores)], float(test[0].nbytes)


def _meta(method: str, task: StoredTask, bytes_per_example: float) -> dict[str, Any]:
    return {
        "method": method,
        "task": task.name,
        "seed": None,
        "trained": False,
        "sees": SEES[method],
        "slots": None,
        "bytes_per_example": bytes_per_example,
        "checkpoint": None,
        "data_digest": task.digest,
    }


if __name__ == "__main__":
    entry(main)
