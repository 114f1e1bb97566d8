"""`latentwire verify --sample N`: a few texts of every task scored again from the stored weights.

Statistics and tables follow from the predictions; only this, or `--recompute`, says whether the predictions follow from
the weights. The texts are drawn anew each time, so that nobody can know them before.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from latentwire.errors import LatentWireError
from latentwire.evaluation.controls import NOISE, SHUFFLED, draw_noise
from latentwire.evaluation.item_answers import controls_of, precisions_of, unseen_words_of
from latentwire.evaluation.predictions import MethodScores
from latentwire.evaluation.reading import TrainedItem, load_trained
from latentwire.evaluation.scoring import score_messages, score_texts, write_messages
from latentwire.evaluation.unseen import flatten_words, unseen_scores
from latentwire.item import TrainItem
from latentwire.models.build import configure_torch, load_receivers
from latentwire.models.features import Features, StoredInputs
from latentwire.models.methods import AnyMethod
from latentwire.models.quantise import round_wires
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params
from latentwire.pipeline.baseline import calibrate_scores, show_examples, text_budgets
from latentwire.tasks.examples import Split
from latentwire.tasks.stored import StoredTask
from latentwire.verification.rows import ResultRow, Status
from unbroken.errors import UnbrokenError

NATS = {"float32": 0.01, "bfloat16": 0.5}
"""How far a log-likelihood may lie from the stored one: another processor and another batch round otherwise."""
BROKEN = (LatentWireError, UnbrokenError, OSError, ValueError, KeyError, TypeError, RuntimeError)
"""What missing or damaged weights, features and predictions raise, and weights of another shape."""


def sample_answers(root: Path, values: Params, count: int) -> list[ResultRow]:
    """Score `count` test texts of every task again, all where it has fewer.

    Returns:
        A row for the answers of every training, and one for every task's receivers that read the text.
    """
    with contextlib.chdir(root):
        configure_torch(values.runtime)
        return [row for task in values.prepare.tasks for row in _sample_task(values, task, count)]


def describe_left_out(values: Params) -> str:
    """What no sample scores again, for a reader of its rows."""
    learned = [name for name in values.baseline.methods if name in ("majority", "probe", "readout")]
    return (
        f"a sample leaves out {', '.join([*learned, 'the probes on the wires'])}: each learned from labelled "
        "examples, whose states or scores it would need again. Next: `latentwire verify --recompute` makes them, too."
    )


def _sample_task(values: Params, name: str, count: int) -> Iterator[ResultRow]:
    try:
        task = StoredTask.open(name)
        texts = {example.example_id: example.text for example in task.split("test")}
    except BROKEN as error:
        yield ResultRow("sample", name, Status.NOT_VERIFIABLE, str(error))
        return
    chosen = sorted(secrets.SystemRandom().sample(list(texts), min(count, len(texts))))
    for item in TrainItem.all(values):
        if item.task == name:
            again = _score_item(values, item, task, chosen)
            yield _row(values, f"evaluate/{item.name}", chosen, again)
    for method, again in _score_baselines(values, task, [texts[example_id] for example_id in chosen]):
        yield _row(values, f"baseline/{name}/{method}", chosen, again)


def _row(values: Params, folder: str, chosen: Sequence[str], score: Callable[[], list[MethodScores]]) -> ResultRow:
    """The stored scores of the chosen examples beside those that the weights give."""
    try:
        stored = pd.read_parquet(Path("results") / folder / "predictions.parquet")
        off, where = max(_distances(stored, chosen, score()))
    except BROKEN as error:
        return ResultRow("sample", folder, Status.NOT_VERIFIABLE, f"{type(error).__name__}: {error}")
    limit = NATS[values.runtime.dtype]
    said = f"{len(chosen)} texts, scores up to {off:.2g} nats off at {where}"
    if off <= limit:
        return ResultRow("sample", folder, Status.IDENTICAL if off == 0 else Status.COMPATIBLE, said if off else "")
    return ResultRow("sample", folder, Status.CONTRADICTED, f"{said}; the weights give others, {limit:g} is rounding")


def _distances(stored: pd.DataFrame, chosen: Sequence[str], again: list[MethodScores]) -> Iterator[tuple[float, str]]:
    """Largest distance of an example's scores, and which example on which model; infinite where it is not stored."""
    keyed = stored.set_index(["method", "model", "example_id"])["scores"]
    for scored in again:
        for example_id, scores in zip(chosen, scored.scores.double().tolist(), strict=True):
            key = (scored.method, scored.model, example_id)
            held = keyed.loc[key] if key in keyed.index else []
            same = len(held) == len(scores)
            off = float(np.abs(np.subtract(held, scores)).max()) if same else float("inf")
            yield (off if np.isfinite(off) else float("inf")), "/".join(key)


def _score_item(
    values: Params, item: TrainItem, task: StoredTask, chosen: Sequence[str]
) -> Callable[[], list[MethodScores]]:
    """The answers of a training and of its controls, every one from what the receiver is said to have read."""

    def score() -> list[MethodScores]:
        inputs, batch = _open_inputs(values, item, task, "test"), values.evaluate.batch
        features = inputs.features
        positions = [features.example_ids.index(example_id) for example_id in chosen]
        trained = load_trained(values, item, features.width)
        sent = write_messages(trained.method, inputs, range(len(features)), batch)
        scored = [
            MethodScores(
                f"{item.answers_as}{end}",
                receiver.name,
                score_messages(trained.method, receiver, read, batch, lambda _: None),
            )
            for end, read in _read_messages(values, item, trained.method, sent, positions)
            for receiver in trained.receivers
        ]
        given = _open_inputs(values, item, task, "validation")
        return [*scored, *_score_unseen(values, item, trained, given, trained.method.select(sent, positions))]

    return score


def _score_unseen(
    values: Params, item: TrainItem, trained: TrainedItem, given: StoredInputs, sent: Any
) -> Iterator[MethodScores]:
    """The answers with words that no training named; their prior is that of the `given` validation texts."""
    unseen = unseen_words_of(values, item)
    if not unseen:
        return
    labels, batch = list(values.tasks[item.task].labels), values.evaluate.batch
    rows = range(min(len(given.features), values.train.validate_.examples))
    reference = write_messages(trained.method, given, rows, batch)
    for receiver in trained.receivers:
        tokens = receiver.answer_tokens(flatten_words(unseen, labels))
        words, prior = (
            score_messages(trained.method, receiver, read, batch, lambda _: None, tokens)[:, len(labels) :]
            for read in (sent, reference)
        )
        yield from unseen_scores(item.method, receiver.name, words, prior, len(unseen))


def _open_inputs(values: Params, item: TrainItem, task: StoredTask, split: Split) -> StoredInputs:
    texts = [example.text for example in task.split(split)]
    return StoredInputs(Features.open(item.features, split), values.encode.max_tokens, texts)


def _read_messages(
    values: Params, item: TrainItem, method: AnyMethod, sent: Any, positions: Sequence[int]
) -> Iterator[tuple[str, Any]]:
    """End of a name → what receivers read of examples by position: their own, that of a control, or at fewer bits."""
    controls = controls_of(values, item)
    yield "", method.select(sent, positions)
    if SHUFFLED in controls:
        yield f"-{SHUFFLED}", method.select(sent, [(position + 1) % len(sent) for position in positions])
    if NOISE in controls:
        yield f"-{NOISE}", method.select(draw_noise(method.vectors(sent), item.seed), positions)
    for precision in precisions_of(values, item):
        yield f"-{precision}", round_wires(method.vectors(method.select(sent, positions)), precision)


def _score_baselines(
    values: Params, task: StoredTask, texts: Sequence[str]
) -> Iterator[tuple[str, Callable[[], list[MethodScores]]]]:
    """The baselines whose receivers read the text; the receivers are loaded once, when the first asks for them."""

    @cache
    def receivers() -> list[Receiver]:
        return load_receivers(values, values.receivers, task.name)

    @cache
    def read(tokens: int) -> list[Tensor]:
        return [score_texts(receiver, texts, tokens, values.evaluate.batch, lambda _: None) for receiver in receivers()]

    def score(method: str, tokens: int) -> list[MethodScores]:
        pairs = zip(receivers(), read(tokens), strict=True)
        return [MethodScores(method, r.name, calibrate_scores(method, r, scores)) for r, scores in pairs]

    def score_few_shot() -> list[MethodScores]:
        length, batch = values.baseline.max_tokens, values.evaluate.batch
        _, shots = show_examples(values, task, receivers())
        pairs = [(r, score_texts(r, texts, length, batch, lambda _: None)) for r in shots]
        return [MethodScores("few_shot", r.name, calibrate_scores("few_shot", r, scores)) for r, scores in pairs]

    for method, tokens in text_budgets(values).items():
        if method in values.baseline.methods:
            yield method, partial(score, method, tokens)
    if "few_shot" in values.baseline.methods:
        yield "few_shot", score_few_shot
