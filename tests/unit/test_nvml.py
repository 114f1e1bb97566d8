"""GPUs as NVML tells them: the right ones under CUDA_VISIBLE_DEVICES, and no reading that was not given."""

from __future__ import annotations

import pynvml
import pytest

from latentwire.nvml import Gpu, Gpus, count_gpus, read_gpus, read_visible_gpus
from tests.support.fake_nvml import GIB, LOST, NOT_SUPPORTED, FakeCard, FakeNvml, error, instance

WHOLE = [FakeCard(f"GPU-{letter * 8}-0000") for letter in "abcd"]
DIVIDED = FakeCard(
    "GPU-eeeeeeee-0000", instances=[instance("MIG-11111111-0000", 1, 0), instance("MIG-22222222-0000", 2, 0)]
)


def shown(monkeypatch: pytest.MonkeyPatch, cards: list[FakeCard], visible: str | None, by_bus: bool = False) -> str:
    FakeNvml(cards).install(monkeypatch)
    return " ".join(card.uuid[:5] for card in read_visible_gpus(visible, by_bus).cards)


def test_everything_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(WHOLE[:2]).install(monkeypatch)
    card = Gpu("NVIDIA X", 93, 4 * GIB, 8 * GIB, WHOLE[0].uuid, 301.5, 61)
    assert read_gpus() == Gpus("570.1", (card, Gpu("NVIDIA X", 93, 4 * GIB, 8 * GIB, WHOLE[1].uuid, 301.5, 61)))
    assert str(card) == "NVIDIA X: 93 % busy, 4.00 GiB of 8.00 GiB"
    assert count_gpus() == 2
    assert nvml.open == 0


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(WHOLE).install(monkeypatch).missing = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    assert read_gpus() == Gpus(None, (), "NVML Shared Library Not Found")
    assert count_gpus() == 0


def test_what_is_not_measured_is_missing_and_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([FakeCard("GPU-a", busy=error(NOT_SUPPORTED), milliwatts=error(NOT_SUPPORTED))]).install(monkeypatch)
    (card,) = read_gpus().cards
    assert (card.busy, card.power, card.temperature, card.problem) == (None, None, 61, "")
    assert str(card) == "NVIDIA X: use unknown, 4.00 GiB of 8.00 GiB"


def test_a_reading_of_zero_is_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([FakeCard("GPU-a", busy=0, used=0, milliwatts=0, temperature=0)]).install(monkeypatch)
    (card,) = read_gpus().cards
    assert (card.busy, card.used, card.power, card.temperature) == (0, 0, 0, 0)


def test_a_card_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answers with errors, one is not found any more."""
    failing = FakeCard("GPU-b", busy=error(LOST), used=error(LOST), milliwatts=error(LOST), temperature=error(LOST))
    nvml = FakeNvml([WHOLE[0], failing, FakeCard("GPU-c", lost=True)]).install(monkeypatch)
    first, second, third = read_gpus().cards
    assert first.busy == 93
    assert (second.busy, second.used, second.total, second.power, second.temperature) == (None,) * 5
    assert second.problem == "GPU is lost"
    assert (third.name, third.busy, third.problem) == ("GPU 2", None, "NVML does not find it any more")
    assert str(second) == "NVIDIA X: use unknown, memory unknown (GPU is lost)"
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, "GPU-a GPU-b GPU-c GPU-d"),
        ("", ""),
        ("2", "GPU-c"),
        ("3, 1", "GPU-d GPU-b"),
        ("0,7,1", "GPU-a"),
        ("1,-1,2", "GPU-b"),
        ("NoDevFiles", ""),
        ("GPU-cccccccc-0000", "GPU-c"),
        ("GPU-dddd,GPU-a", "GPU-d GPU-a"),
        ("GPU-", ""),
        ("GPU-ffffffff,0", ""),
    ],
)
def test_the_cards_that_are_visible(monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: str) -> None:
    assert shown(monkeypatch, WHOLE, visible) == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("MIG-22222222-0000", "MIG-2"),
        ("MIG-1111", "MIG-1"),
        ("MIG-GPU-eeeeeeee-0000/2/0", "MIG-2"),
        ("MIG-GPU-eeeeeeee-0000/3/0", ""),
        ("GPU-aaaaaaaa-0000", "GPU-a"),
        (None, "MIG-1"),
        ("0", "MIG-1"),
        ("0,1", "MIG-1"),
    ],
)
def test_instances_of_a_divided_card(monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: str) -> None:
    assert shown(monkeypatch, [WHOLE[0], DIVIDED], visible) == expected


def test_an_instance_has_its_own_memory_and_the_power_of_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([DIVIDED]).install(monkeypatch)
    DIVIDED.instances[1].used = GIB
    (card,) = read_visible_gpus("MIG-22222222-0000").cards
    assert (card.name, card.busy, card.used) == ("NVIDIA X MIG 1g.10gb", None, GIB)
    assert (card.power, card.temperature, card.problem) == (301.5, 61, "")


def test_cards_of_several_kinds_are_counted_only_where_cuda_and_nvml_count_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA begins with the fastest card, NVML with the first on the bus: another card's readings would be shown."""
    mixed = [FakeCard("GPU-slow", "NVIDIA Y"), FakeCard("GPU-fast", "NVIDIA Z")]
    FakeNvml(mixed).install(monkeypatch)
    told = read_visible_gpus("0")
    assert told.cards == ()
    assert "Next: `export CUDA_DEVICE_ORDER=PCI_BUS_ID`" in told.problem
    assert shown(monkeypatch, mixed, "0", by_bus=True) == "GPU-s"
    assert shown(monkeypatch, mixed, "GPU-fast") == "GPU-f"
    assert shown(monkeypatch, mixed, None) == "GPU-s GPU-f"
