"""`python -m tests.machines.record`: the calls of the real models, from one step of each kind, in `operations.txt`.

The models are those of params.yaml (`make setup`); texts are made up, since of a text only its length shapes a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentwire.environment import set_torch_defaults
from latentwire.evaluation.controls import shuffle_rows
from latentwire.evaluation.scoring import generate_texts, label_prior, score_messages, score_texts
from latentwire.models.baselines import score_by_majority
from latentwire.models.build import configure_torch, new_method
from latentwire.models.features import Features, compute_hidden_states
from latentwire.models.loading import FrozenModel, load_model
from latentwire.models.methods import AnyMethod
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params, load_params
from latentwire.training.gradients import BatchGradients, gradients_per_batch
from latentwire.training.loop import LabelledFeatures, Trainer
from latentwire.training.objective import Batch
from tests.machines.operations import Recorder
from tests.machines.replay import KEPT
from tests.support.workspace import ROOT
from unbroken.exact.randomness import derive_seed, seed_all

WORDS = "an old film about a quiet family that grows on you long after its last careful scene has passed"
NO_DATA = LabelledFeatures(Features(Path(), "train", (), (), 0), (), 0)
TEXTS = [" ".join((WORDS.split() * 8)[number : 2 * number + 9]) for number in range(32)]
"""Of 9 to 40 words."""


def record_calls(values: Params) -> list[str]:
    """Every different call of encoding, training, evaluation and the baselines, with the real models."""
    configure_torch(values.runtime)
    sender = load_model(values.encode.sender, values.models[values.encode.sender], role="encoder", dtype="float32")
    frozen = [load_model(name, values.models[name], role="causal", dtype="float32") for name in values.receivers]
    readers = [make_readers(values, task, frozen) for task in values.prepare.tasks]
    with Recorder() as recorder:
        states = compute_hidden_states(
            sender, TEXTS[: values.encode.batch], values.encode.layer, values.encode.max_tokens
        )
        for receivers in readers:
            record_task(values, receivers, [row.to(torch.bfloat16).float() for row in states])
    return sorted(recorder.calls)


def make_readers(values: Params, task: str, frozen: Sequence[FrozenModel]) -> list[Receiver]:
    """The receivers with the layout of a task."""
    words = values.tasks[task]
    return [Receiver(model, words.primer, words.anchor, list(words.labels.values())) for model in frozen]


def record_task(values: Params, receivers: Sequence[Receiver], states: Sequence[Tensor]) -> None:
    """One training step, one batch of each evaluation, and the free texts."""
    wire = new_method(values, values.train.methods[0], states[0].shape[1], receivers, seed=0)
    configure_torch(values.runtime, threads=1)
    train_step(values, wire, receivers, states)
    configure_torch(values.runtime)
    evaluate(values, wire, receivers, states)


def train_step(values: Params, wire: AnyMethod, receivers: Sequence[Receiver], states: Sequence[Tensor]) -> None:
    """One shard alone, all together where their answers have one length, then AdamW."""
    settings, length = values.train, values.encode.max_tokens
    each = settings.batch // settings.shards
    shards = [pad(states[first : first + each], length) for first in range(0, settings.batch, each)]
    optimizer = Trainer(wire, receivers, NO_DATA, settings, seed=0, validate=dict).make_optimizer()
    wire.train()
    together = all(len({len(answer) for answer in reader.layout.answers}) == 1 for reader in receivers)
    computed = [compute(values, wire, receivers, shards[:1]), *([compute(values, wire, receivers, shards)] * together)]
    sums = [sum(parts[1:], parts[0]) for parts in zip(*(c.gradients for cs in computed for c in cs), strict=True)]
    for parameter, gradient in zip(wire.parameters(), sums, strict=True):
        parameter.grad = gradient / settings.shards
    nn.utils.clip_grad_norm_(wire.parameters(), settings.clip)
    optimizer.step()


def compute(
    values: Params, wire: AnyMethod, receivers: Sequence[Receiver], shards: Sequence[Batch]
) -> list[BatchGradients]:
    """Gradients of some shards in one pass."""
    return gradients_per_batch(
        wire, receivers, shards, values.train.losses, lambda shard: seed_all(derive_seed(0, 1, shard, "dropout"))
    )


@torch.no_grad()
def evaluate(values: Params, wire: AnyMethod, receivers: Sequence[Receiver], states: Sequence[Tensor]) -> None:
    """Scores of one batch of wires and of texts, free texts, and what the other baselines compute with torch."""
    wire.eval()
    count, length = values.evaluate.batch, values.encode.max_tokens
    batch = pad(states[:count], length)
    wires = shuffle_rows(wire.pack([wire.write(batch)]))
    for receiver in receivers:
        score_messages(wire, receiver, wires, count, lambda _: None)
        for tokens in (values.baseline.max_tokens, values.cut_tokens):
            score_texts(receiver, TEXTS[:count], tokens, count, lambda _: None) - label_prior(receiver)
        generate_texts(wire, receiver, wires[: values.evaluate.samples.examples], values.evaluate.samples.tokens)
    score_by_majority([0, 1, 1], 2, count)
    nn.functional.normalize(torch.stack([row.mean(dim=0) for row in states]).double(), dim=1)


def pad(states: Sequence[Tensor], length: int) -> Batch:
    """States [B, length, D_s], as `Features.padded` makes them, with labels."""
    padded = torch.zeros(len(states), length, states[0].shape[1])
    for target, row in zip(padded, states, strict=True):
        target[: len(row)] = row
    lengths = torch.tensor([len(row) for row in states])
    return Batch(padded, torch.arange(length)[None, :] < lengths[:, None], torch.arange(len(states)) % 2)


def main() -> None:
    """Write the list."""
    set_torch_defaults()
    calls = record_calls(load_params(ROOT / "params.yaml"))
    KEPT.write_text("".join(f"{call}\n" for call in calls), encoding="utf-8")
    print(f"{len(calls)} calls in {KEPT}")


if __name__ == "__main__":
    main()
