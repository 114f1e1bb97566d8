"""The slots of a wire are vectors of their own, and two numbers say how far they are."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

import pytest
import torch
from torch import Tensor

from latentwire.models.build import new_method
from latentwire.models.receiver import Receiver
from latentwire.models.slot_diversity import effective_ranks, slot_cosines
from latentwire.models.wire import Resampler, Wire
from latentwire.params.load import load_params


def test_equal_slots_are_one() -> None:
    wires = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(0)).expand(2, 4, 6)
    assert slot_cosines(wires) == pytest.approx([1, 1])
    assert effective_ranks(wires) == pytest.approx([1, 1])


def test_orthogonal_slots_are_as_many_as_they_are() -> None:
    wires = torch.eye(4)[None] * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]  # lengths do not matter
    assert slot_cosines(wires) == pytest.approx([0])
    assert effective_ranks(wires) == pytest.approx([4])


def test_opposite_slots_point_one_way_and_back() -> None:
    wires = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])
    assert slot_cosines(wires) == pytest.approx([-1])
    assert effective_ranks(wires) == pytest.approx([1])


def test_the_rank_is_that_of_the_singular_values() -> None:
    wires = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1)).half()
    for rank, slots in zip(effective_ranks(wires), wires.double(), strict=True):
        values = torch.linalg.svdvals(slots / slots.norm(dim=-1, keepdim=True))
        shares = values / values.sum()
        assert rank == pytest.approx(math.exp(float(-(shares * shares.log()).sum())))
        assert 1 < rank < 5


def test_one_slot_has_no_other() -> None:
    assert effective_ranks(torch.ones(2, 1, 3)) == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="needs two of them, found wires of one slot"):
        slot_cosines(torch.ones(2, 1, 3))


@pytest.fixture
def states() -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([[5], [9], [1], [12]])
    return torch.randn(4, 12, 24, generator=torch.Generator().manual_seed(1)), torch.arange(12)[None, :] < lengths


@pytest.mark.parametrize("slots", [2, 4, 8, 32])
@pytest.mark.parametrize(("width", "heads", "depth"), [(16, 2, 1), (64, 4, 2), (192, 4, 2), (192, 4, 6)])
def test_a_new_wire_has_slots_that_differ(
    slots: int, width: int, heads: int, depth: int, states: tuple[Tensor, Tensor]
) -> None:
    shape = (24, slots, width, depth, heads, 0.0)
    torch.manual_seed(0)
    wires = Resampler(*shape)(*states)
    assert mean(slot_cosines(wires)) < 0.9
    assert mean(effective_ranks(wires)) > 1.5
    torch.manual_seed(0)
    drowned = Resampler(*shape, query_std=0.02)(*states)
    assert mean(slot_cosines(drowned)) > 0.9  # what stood here before


def test_the_methods_parameter_is_the_deviation_of_the_queries(receiver: Receiver) -> None:
    values = load_params(Path(__file__).parents[3] / "params.yaml")
    asked = {"slots": 64, "width": 32, "depth": 1, "heads": 2, "hidden": 8, "dropout": 0.0}
    for given, expected in (({}, 1.0), ({"query_std": 0.25}, 0.25)):
        settings = values.methods["wire"].model_copy(update={**asked, "query_std": 1.0, **given})
        wire = new_method(values.model_copy(update={"methods": {"wire": settings}}), "wire", 24, [receiver], seed=0)
        assert isinstance(wire, Wire)
        assert float(wire.resampler.queries.detach().std()) == pytest.approx(expected, rel=0.05)
