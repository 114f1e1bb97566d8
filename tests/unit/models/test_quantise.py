"""Wires of eight and of four bits: how far they may lie from what was sent, and that every processor makes the same."""

from __future__ import annotations

import bisect
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentwire.errors import ConfigurationError
from latentwire.models.quantise import BITS, GROUP, dequantise_wires, quantise_wires, quantised_bytes, round_wires
from tests.support.fake_device import DEVICE, KnownValues

PRECISIONS = sorted(BITS)
LARGEST = {"int8": 127, "int4": 7}
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40))


@st.composite
def wires(draw: st.DrawFn) -> Tensor:
    """Wires [N, M, d] of any float16 numbers, also such that are smaller than every normal one."""
    shape = draw(SHAPES)
    few = draw(st.lists(HALVES, min_size=1, max_size=40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return torch.from_numpy(rng.choice(few, size=shape)).half()


def by_hand(numbers: list[float], precision: str) -> tuple[list[int], float]:
    """Codes and scale of one group in exact fractions, from the bit patterns of float16 upwards."""
    strongest, largest = max(abs(Fraction(number)) for number in numbers), LARGEST[precision]
    scale = ALL_SCALES[bisect.bisect_left(ALL_SCALES, strongest / largest)]
    # `round` takes the nearest whole number of a fraction, and the even one of two.
    return [round(Fraction(number) / scale) if scale else 0 for number in numbers], float(scale)


ALL_SCALES = [Fraction(struct.unpack("<e", struct.pack("<H", bits))[0]) for bits in range(0x7C00)]
"""Every finite float16 from 0 upwards."""


@pytest.mark.parametrize("precision", PRECISIONS)
@given(sent=wires())
@settings(deadline=None)
def test_no_number_is_further_off_than_half_a_scale(precision: str, sent: Tensor) -> None:
    quantised, flat = quantise_wires(sent, precision), sent.flatten(1).double().numpy()
    assert np.abs(quantised.codes.astype(int)).max() <= LARGEST[precision]
    received = round_wires(sent, precision)
    assert (received.shape, received.dtype) == (sent.shape, torch.float32)
    bounds = quantised.scales.astype(float).repeat(GROUP, axis=1)[:, : flat.shape[1]] / 2
    assert (np.abs(received.flatten(1).double().numpy() - flat) <= bounds).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@given(sent=wires())
@settings(deadline=None)
def test_codes_and_scales_are_those_of_exact_fractions(precision: str, sent: Tensor) -> None:
    quantised = quantise_wires(sent, precision)
    for row, codes, scales in zip(sent.flatten(1).double().tolist(), quantised.codes, quantised.scales, strict=True):
        groups = [row[first : first + GROUP] for first in range(0, len(row), GROUP)]
        assert len(groups) == len(codes) == len(scales)
        for group, own, scale in zip(groups, codes.tolist(), scales.tolist(), strict=True):
            assert (own[: len(group)], scale) == by_hand(group, precision)
            assert own[len(group) :] == [0] * (GROUP - len(group))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_numbers_are_the_same_in_whatever_company_a_wire_is_sent(precision: str) -> None:
    sent = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3, 21))).half()
    alone = [round_wires(sent[row : row + 1], precision) for row in range(5)]
    assert torch.equal(torch.cat(alone), round_wires(sent, precision))
    moved = round_wires(sent.transpose(1, 2).contiguous().transpose(1, 2), precision)
    assert torch.equal(moved, round_wires(sent, precision)), "however it lies in memory"


def test_a_known_wire() -> None:
    """Written down once, for processors to come: numbers in order, one group of 32 and one of 1."""
    sent = torch.arange(-16, 17).reshape(1, 3, 11).half() / 8
    eight, four = (quantise_wires(sent, precision) for precision in ("int8", "int4"))
    assert eight.scales.tolist() == [[0.0157623291015625, 0.0157623291015625]]
    assert four.scales.tolist() == [[0.285888671875, 0.285888671875]]
    assert eight.codes[0, 0, :4].tolist() == [-127, -119, -111, -103]
    below = [-7, -7, -6, -6, -5, -5, -4, -4, -3, -3, -3, -2, -2, -1, -1, 0]
    assert four.codes[0, 0].tolist() == [*below, 0, *(-code for code in reversed(below[1:]))]
    assert four.codes[0, 1].tolist() == [7] + [0] * 31


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, 2.0**-24, 65504.0])
def test_a_constant_wire_is_the_largest_code(precision: str, value: float) -> None:
    quantised = quantise_wires(torch.full((1, 2, 16), value).half(), precision)
    sign = math.copysign(1, value) if value else 0
    assert (quantised.codes >= 0).all() == (sign >= 0)
    assert np.unique(quantised.codes).size == 1
    if value == 0:
        assert not quantised.scales.any()
        assert torch.equal(round_wires(torch.zeros(1, 2, 16).half(), precision), torch.zeros(1, 2, 16))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(precision: str, value: float) -> None:
    sent = torch.zeros(2, 3, 8).half()
    sent[1, 2, 3] = value
    with pytest.raises(ConfigurationError, match=rf"^1 numbers of wires .* {precision} can .*Next: train"):
        quantise_wires(sent, precision)


@pytest.mark.parametrize(
    ("numbers", "precision", "size"),
    [
        (8 * 192, "int8", 1536 + 96),
        (8 * 192, "int4", 768 + 96),
        (33, "int8", 33 + 4),
        (33, "int4", 17 + 4),
        (1, "int4", 1 + 2),
    ],
)
def test_bytes_are_those_of_the_codes_and_a_scale_for_each_group(numbers: int, precision: str, size: int) -> None:
    assert quantised_bytes(numbers, precision) == size
    sent = quantise_wires(torch.ones(1, 1, numbers).half(), precision)
    assert size == math.ceil(numbers * BITS[precision] / 8) + sent.scales.nbytes


def test_wires_come_back_to_the_device_that_they_came_from() -> None:
    with KnownValues():
        sent = torch.zeros(2, 3, 4, device=DEVICE, dtype=torch.float16)
        received = dequantise_wires(quantise_wires(sent, "int8"), sent)
    assert (received.device.type, received.shape) == (DEVICE, sent.shape)
