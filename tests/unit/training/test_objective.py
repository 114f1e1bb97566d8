from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from latentwire.models.wire import Adapter, Resampler, Wire, wire_similarity
from latentwire.params.sections import Losses
from latentwire.training.gradients import BatchGradients, gradients_per_batch
from latentwire.training.objective import Batch, token_ce
from latentwire.training.schedule import warmup_cosine


class StandIn:
    """A receiver of three labels whose scores are the first three numbers of the first slot."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.layout = SimpleNamespace(answers=[(0,), (1, 2), (3,)])

    def label_log_likelihoods(self, middle: list[Tensor]) -> Tensor:
        return torch.stack([rows[0, :3] for rows in middle])

    def answer_log_likelihoods(self, middle: list[Tensor], answers: list[tuple[int, ...]]) -> Tensor:
        return torch.stack([rows[0, : len(a)].sum() for rows, a in zip(middle, answers, strict=True)])


@pytest.fixture
def wire() -> Wire:
    torch.manual_seed(0)
    return Wire(Resampler(6, 2, 8, 1, 2, 0.0), {name: Adapter(8, 4, 5, 1.0) for name in ("a", "b")})


@pytest.fixture
def batch() -> Batch:
    dice = torch.Generator().manual_seed(1)
    return Batch(torch.randn(4, 3, 6, generator=dice), torch.ones(4, 3, dtype=torch.bool), torch.tensor([0, 1, 2, 1]))


def weights(**chosen: float) -> Losses:
    return Losses(**{"token_ce": 0.0, "label_ce": 0.0, "collapse": 0.0, **chosen})


def compute_gradients(wire: Wire, names: str, batch: Batch, chosen: Losses) -> BatchGradients:
    (computed,) = gradients_per_batch(wire, [StandIn(name) for name in names], [batch], chosen, lambda _: None)  # type: ignore[misc]
    return computed


def test_the_loss_is_the_weighted_mean_over_receivers(wire: Wire, batch: Batch) -> None:
    means = compute_gradients(wire, "ab", batch, weights(token_ce=2.0, label_ce=0.5, collapse=0.1)).means
    by_hand = (
        2.0 * (means["token_ce/a"] + means["token_ce/b"]) / 2
        + 0.5 * (means["label_ce/a"] + means["label_ce/b"]) / 2
        + 0.1 * means["collapse"]
    )
    torch.testing.assert_close(means["loss"], by_hand)


def test_the_gradient_is_that_of_the_loss(wire: Wire, batch: Batch) -> None:
    chosen = weights(token_ce=2.0, collapse=0.1)
    gradients = compute_gradients(wire, "ab", batch, chosen).gradients
    sent = wire.write(batch)
    terms = [token_ce(StandIn(name), wire.read(sent, StandIn(name)), batch.labels).mean() for name in "ab"]  # type: ignore[arg-type]
    whole = 2.0 * (terms[0] + terms[1]) / 2 + 0.1 * wire_similarity(sent)
    for gradient, expected in zip(gradients, torch.autograd.grad(whole, list(wire.parameters())), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_token_ce_is_per_token(wire: Wire, batch: Batch) -> None:
    means = compute_gradients(wire, "ab", batch, weights(token_ce=1.0)).means
    rows = [read[0] for read in wire.read(wire.write(batch), StandIn("a"))]  # type: ignore[arg-type]
    answers = StandIn("a").layout.answers
    by_hand = [-row[: len(answers[y])].mean() for row, y in zip(rows, batch.labels.tolist(), strict=True)]
    torch.testing.assert_close(means["token_ce/a"], torch.stack(by_hand).mean().detach())


def test_both_adapters_and_the_shared_resampler_learn(wire: Wire, batch: Batch) -> None:
    gradients = compute_gradients(wire, "ab", batch, weights(label_ce=1.0)).gradients
    named = zip(wire.named_parameters(), gradients, strict=True)
    assert [name for (name, _), gradient in named if not gradient.abs().sum()] == []


def test_batches_that_are_read_together_have_gradients_of_their_own(wire: Wire, batch: Batch) -> None:
    chosen, begun = weights(token_ce=1.0, label_ce=0.5, collapse=0.1), []
    halves = [Batch(batch.states[rows], batch.mask[rows], batch.labels[rows]) for rows in (slice(0, 2), slice(2, 4))]
    together = gradients_per_batch(wire, [StandIn("a"), StandIn("b")], halves, chosen, begun.append)  # type: ignore[list-item]
    assert begun == [0, 1]
    for half, computed in zip(halves, together, strict=True):
        alone = compute_gradients(wire, "ab", half, chosen)
        assert computed.means.keys() == alone.means.keys()
        torch.testing.assert_close(list(computed.means.values()), list(alone.means.values()))
        torch.testing.assert_close(computed.gradients, alone.gradients)


def test_collapse_is_one_for_equal_wires_and_zero_for_orthogonal_ones() -> None:
    assert float(wire_similarity(torch.ones(3, 2, 4))) == pytest.approx(1.0)
    assert float(wire_similarity(torch.eye(3).reshape(3, 1, 3))) == pytest.approx(0.0)


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine(optimizer, warmup=4, steps=12)
    rates = []
    for _ in range(12):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[8] == pytest.approx(1 + math.cos(math.pi / 2))
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert schedule.get_last_lr()[0] == pytest.approx(0.0)
