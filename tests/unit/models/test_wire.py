from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from latentwire.models.methods import Inputs
from latentwire.models.wire import Adapter, Resampler, Wire, rms_normalise


def resampler(dropout: float = 0.0) -> Resampler:
    torch.manual_seed(0)
    return Resampler(sender_width=12, slots=4, width=16, depth=2, heads=2, dropout=dropout)


@pytest.fixture
def states() -> tuple[torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(1)
    mask = torch.arange(9)[None, :] < torch.tensor([5, 9, 1])[:, None]
    return torch.randn(3, 9, 12, generator=dice), mask


def test_a_wire_has_root_mean_square_one_per_slot(states: tuple[torch.Tensor, torch.Tensor]) -> None:
    wire = resampler()(*states)
    assert wire.shape == (3, 4, 16)
    torch.testing.assert_close(wire.square().mean(dim=-1), torch.ones(3, 4), rtol=0, atol=1e-4)


def test_padding_of_the_text_changes_no_wire(states: tuple[torch.Tensor, torch.Tensor]) -> None:
    model, (x, mask) = resampler(), states
    noisy = torch.where(mask[..., None], x, torch.tensor(100.0))
    torch.testing.assert_close(model(noisy, mask), model(x, mask), rtol=0, atol=1e-6)
    alone = model(x[:1, :5], mask[:1, :5])
    torch.testing.assert_close(model(x, mask)[:1], alone, rtol=0, atol=1e-5)


def test_no_gradient_reaches_padding_of_the_text(states: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, mask = states
    x = x.requires_grad_()
    (resampler()(x, mask) * torch.arange(16.0)).sum().backward()
    assert x.grad is not None
    assert (x.grad[~mask] == 0).all()
    assert (x.grad[mask].abs().sum(dim=1) > 0).all()


def test_different_texts_give_different_wires(states: tuple[torch.Tensor, torch.Tensor]) -> None:
    wire = resampler()(*states)
    assert (wire[0] - wire[1]).abs().max() > 1e-3


def test_an_adapter_starts_at_the_scale_of_the_embedding_table() -> None:
    torch.manual_seed(0)
    embedded = Adapter(width=16, hidden=8, receiver_width=24, embedding_rms=0.03)(torch.randn(2, 4, 16))
    rms = embedded.square().mean(dim=-1).sqrt()
    torch.testing.assert_close(rms, torch.full((2, 4), 0.03), rtol=1e-3, atol=0)


def test_all_receivers_read_the_same_wire() -> None:
    adapters = {"a": Adapter(16, 8, 24, 1.0), "b": Adapter(16, 8, 32, 1.0)}
    wire = Wire(resampler(), adapters)
    written = wire.write(Inputs(torch.randn(2, 3, 12), torch.ones(2, 3, dtype=torch.bool)))
    for name, width in (("a", 24), ("b", 32)):
        read = wire.read(written, SimpleNamespace(name=name))  # type: ignore[arg-type]
        assert [rows.shape for rows in read] == [(4, width)] * 2


def test_rms_normalise_against_a_hand_computation() -> None:
    torch.testing.assert_close(rms_normalise(torch.tensor([3.0, 4.0]), eps=0.0), torch.tensor([3.0, 4.0]) / (12.5**0.5))
