from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from latentwire.models.wire import Adapter, Resampler, Wire
from latentwire.sections import Losses
from latentwire.training.objective import Batch, collapse, objective
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


def test_the_loss_is_the_weighted_mean_over_receivers(wire: Wire, batch: Batch) -> None:
    loss, terms = objective(
        wire, [StandIn("a"), StandIn("b")], batch, weights(token_ce=2.0, label_ce=0.5, collapse=0.1)
    )  # type: ignore[list-item]
    by_hand = (
        2.0 * (terms["token_ce/a"] + terms["token_ce/b"]) / 2
        + 0.5 * (terms["label_ce/a"] + terms["label_ce/b"]) / 2
        + 0.1 * terms["collapse"]
    )
    torch.testing.assert_close(loss.detach(), by_hand)


def test_token_ce_is_per_token(wire: Wire, batch: Batch) -> None:
    _, terms = objective(wire, [StandIn("a")], batch, weights(token_ce=1.0))  # type: ignore[list-item]
    rows = wire.read(wire.write(batch.states, batch.mask), "a")[:, 0]
    answers = StandIn("a").layout.answers
    by_hand = [-row[: len(answers[y])].mean() for row, y in zip(rows, batch.labels.tolist(), strict=True)]
    torch.testing.assert_close(terms["token_ce/a"], torch.stack(by_hand).mean().detach())


def test_both_adapters_and_the_shared_resampler_learn(wire: Wire, batch: Batch) -> None:
    loss, _ = objective(wire, [StandIn("a"), StandIn("b")], batch, weights(label_ce=1.0))  # type: ignore[list-item]
    loss.backward()
    still = [name for name, p in wire.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


def test_collapse_is_one_for_equal_wires_and_zero_for_orthogonal_ones() -> None:
    assert float(collapse(torch.ones(3, 2, 4))) == pytest.approx(1.0)
    assert float(collapse(torch.eye(3).reshape(3, 1, 3))) == pytest.approx(0.0)


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
