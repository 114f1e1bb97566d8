"""The wire behind the protocol of methods: every byte is that of the formulas that knew of wires alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.params.sections import Losses
from latentwire.training.gradients import gradients_per_batch
from latentwire.training.loop import Trainer
from latentwire.training.objective import Batch, supervision_terms, weighted_sum
from unbroken.exact.randomness import derive_seed, seed_all

ALL_LOSSES = Losses(token_ce=1.0, label_ce=0.5, collapse=0.1)


def gradients_as_before(wire: Wire, receiver: Receiver, batches: list[Batch], weights: Losses) -> list[list[Tensor]]:
    """What `gradients_per_batch` was for a wire and one receiver, line by line."""
    sent, read = [], []
    for position, batch in enumerate(batches):
        seed_all(derive_seed(0, 1, position, "dropout"))
        sent.append(wire.resampler(batch.states, batch.mask))
        read.append(wire.adapters[receiver.name](sent[-1]))
    leaves = [rows.detach().requires_grad_() for rows in read]
    labels = torch.cat([batch.labels for batch in batches])
    by_example = supervision_terms(receiver, torch.cat(leaves), labels, weights)
    chunks = {name: values.chunk(len(batches)) for name, values in by_example.items()}
    means = [{name: parts[i].mean() for name, parts in chunks.items()} for i in range(len(batches))]
    upstream = torch.autograd.grad([weighted_sum(part, weights) / 1 for part in means], leaves)
    found = []
    for wires, rows, gradient in zip(sent, read, upstream, strict=True):
        flat = nn.functional.normalize(wires.flatten(1), dim=1)
        cosines = flat @ flat.T
        similarity = (cosines.sum() - cosines.trace()) / (len(flat) * (len(flat) - 1))
        outputs, given = [rows, weights.collapse * similarity], [gradient, torch.ones(())]
        found.append(list(torch.autograd.grad(outputs, list(wire.parameters()), given)))
    return found


@pytest.mark.parametrize("together", [1, 4])
def test_a_training_of_a_wire_has_the_bytes_that_it_had(together: int, trainer: Trainer, reader: Receiver) -> None:
    """Dropout, three losses and AdamW, over some steps: gradients of every batch, and the weights at the end."""
    now, before = trainer.method.train(), copy.deepcopy(trainer.method).train()
    assert isinstance(before, Wire)
    optimizers = [torch.optim.AdamW(wire.parameters(), lr=0.01, fused=True) for wire in (now, before)]
    for step in range(1, 4):
        batches = [trainer.shard(step, shard) for shard in range(together)]
        computed = gradients_per_batch(
            now, [reader], batches, ALL_LOSSES, lambda i: seed_all(derive_seed(0, 1, i, "dropout"))
        )
        expected = gradients_as_before(before, reader, batches, ALL_LOSSES)
        for one, other in zip(computed, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one.gradients, other, strict=True))
        for wire, gradients in ((now, computed[0].gradients), (before, expected[0])):
            for parameter, gradient in zip(wire.parameters(), gradients, strict=True):
                parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(now.parameters(), before.parameters(), strict=True))
    assert not torch.equal(computed[0].gradients[0], torch.zeros_like(computed[0].gradients[0]))
