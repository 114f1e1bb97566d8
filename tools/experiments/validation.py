"""What validation texts say of a trained wire, or of what answers without one. Of the test split nothing is opened.

Shapes: N validation texts, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentwire.errors import ConfigurationError
from latentwire.evaluation.reading import TrainedItem, load_trained
from latentwire.evaluation.scoring import label_prior, score_messages, score_texts, write_messages
from latentwire.item import TrainItem, defining_params
from latentwire.models.baselines import LogisticLayer, score_by_majority
from latentwire.models.build import load_receivers
from latentwire.models.features import Features, StoredInputs
from latentwire.params.load import Params
from latentwire.result_code import running_code
from latentwire.tasks.examples import Split
from latentwire.tasks.labelled import Labelled
from latentwire.tasks.stored import StoredTask
from latentwire.training.drawn_labels import draw_labelled
from tools.experiments.stored import PROBE, SCALED, Facts
from unbroken.canonical_json import digest_json
from unbroken.run_folder.journal import JOURNAL_FILE, read_journal

FOLDS = 5
"""Parts of the validation texts in a cross-validation."""


def measure_trained(values: Params, item: TrainItem) -> Facts:
    """The answers of every receiver and of a probe on the wire, the journal's validations, and what was trained.

    Raises:
        ConfigurationError: The method sends no vectors, and so there is nothing for a probe.
    """
    if values.methods[item.method].sent_vectors is None:
        raise ConfigurationError(
            f"Method {item.method} is of kind {values.methods[item.method].kind}, and experiments compare wires with "
            "probes on them; expected a method that sends vectors. Next: take it out of train.methods."
        )
    trained = load_trained(values, item, Features.open(item.features, "validation").width)
    labelled = _labelled(values, item.task, item.seed)
    return {
        **_describe(values, item.task, _score_wires(values, item, trained, labelled)),
        "code": digest_json(dict(running_code("train", Path())))[:12],
        "labelled": len(labelled),
        "params": defining_params(values, item),
        "trained_numbers": sum(parameter.numel() for parameter in trained.method.parameters()),
        "validations": read_validations(item.results / JOURNAL_FILE),
    }


def _score_wires(values: Params, item: TrainItem, trained: TrainedItem, labelled: Labelled) -> dict[str, Tensor]:
    """Label scores [N, C] after the wires of the validation texts, by who gives them."""
    length, batch = values.encode.max_tokens, values.evaluate.batch
    classes, c = len(_labels(values, item.task)), values.baseline.probe_c

    def write(split: Split, rows: Sequence[int]) -> Tensor:
        return write_messages(trained.method, StoredInputs(Features.open(item.features, split), length), rows, batch)

    golds = _golds(values, item.task, "validation")
    wires, given = write("validation", range(len(golds))), write("train", labelled.positions)
    scores = {r.name: score_messages(trained.method, r, wires, batch, _ignore) for r in trained.receivers}
    scaled = {f"{SCALED}/{name}": scale_scores(rows, golds, classes, c) for name, rows in scores.items()}
    probe = LogisticLayer.of(labelled, classes, c).score_by_readout(given.flatten(1), wires.flatten(1))
    return {**scores, **scaled, PROBE: probe}


def measure_without_wire(values: Params, task: str) -> Facts:
    """The answers to the validation texts of what has the same labelled examples as a wire of the first seed."""
    labelled = _labelled(values, task, values.train.own_seeds[0])
    texts = [example.text for example in StoredTask.open(task).split("validation")]
    means = {s: Features.open(Path("results/encode") / task, s).means() for s in ("train", "validation")}
    classes, length = len(_labels(values, task)), values.baseline.max_tokens
    layer = LogisticLayer.of(labelled, classes, values.baseline.probe_c)
    scores = {
        "majority": score_by_majority(_golds(values, task, "train"), classes, len(texts)),
        PROBE: layer.score_by_probe(means["train"][labelled.positions], means["validation"]),
    }
    for receiver in load_receivers(values, values.receivers, task):
        read, learned = (
            score_texts(receiver, part, length, values.evaluate.batch, _ignore) for part in (texts, labelled.texts)
        )
        scores[f"calibrated/{receiver.name}"] = read - label_prior(receiver)
        scores[f"readout/{receiver.name}"] = layer.score_by_readout(learned, read)
    return {**_describe(values, task, scores), "labelled": len(labelled)}


def scale_scores(scores: Tensor, golds: Sequence[int], classes: int, c: float) -> Tensor:
    """What a logistic layer makes of label scores [N, C], each part of the texts by one that learned from the others.

    It tells a receiver that lost what the wire holds from one that says it with the labels out of proportion.
    """
    fold = torch.arange(len(scores)) % FOLDS
    scaled = torch.empty(len(scores), classes, dtype=torch.float64)
    for number in range(FOLDS):
        others = (fold != number).nonzero().flatten()
        known = [golds[row] for row in others.tolist()]
        scaled[fold == number] = LogisticLayer(known, classes, c).score_by_readout(
            scores[others], scores[fold == number]
        )
    return scaled


def read_validations(journal: Path) -> list[Facts]:
    """Step and metrics of every validation of a training."""
    prefix = "validation/"
    lines = [
        (line["step"], {k.removeprefix(prefix): v for k, v in line.items() if k.startswith(prefix)})
        for line in read_journal(journal)
    ]
    return [{"step": step, **metrics} for step, metrics in lines if metrics]


def _labels(values: Params, task: str) -> list[str]:
    return list(values.tasks[task].labels)


def _labelled(values: Params, task: str, seed: int) -> Labelled:
    """What a training with the seed reads, with its labels."""
    return draw_labelled(values.train, seed, StoredTask.open(task).split("train"), _labels(values, task))


def _golds(values: Params, task: str, split: Split) -> list[int]:
    labels = _labels(values, task)
    return [labels.index(example.label) for example in StoredTask.open(task).split(split)]


def _describe(values: Params, task: str, scores: dict[str, Tensor]) -> Facts:
    labels, golds = _labels(values, task), _golds(values, task, "validation")
    return {
        "labels": labels,
        "golds": golds,
        "answers": {who: rows.argmax(dim=1).tolist() for who, rows in scores.items()},
    }


def _ignore(_: int) -> None:
    """Nobody looks at a bar."""
