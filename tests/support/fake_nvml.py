"""NVML of a machine that is made up: whole cards, divided ones, and what fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

GIB = 2**30


@dataclass
class FakeCard:
    """A card or an instance; a reading that is an error is raised."""

    uuid: str
    name: str = "NVIDIA X"
    busy: Any = 93
    used: Any = 4 * GIB
    total: int = 8 * GIB
    milliwatts: Any = 301_500
    temperature: Any = 61
    numbers: tuple[int, int] = (0, 0)
    """Of an instance: GPU instance, compute instance."""
    instances: list[FakeCard] = field(default_factory=list)
    lost: bool = False


def error(number: int) -> pynvml.NVMLError:
    """What NVML raises."""
    return pynvml.NVMLError(number)


NOT_SUPPORTED, LOST, UNKNOWN = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_UNKNOWN,
)


def instance(uuid: str, *numbers: int) -> FakeCard:
    """An instance of a divided card, which NVML knows neither the use nor the power of."""
    return FakeCard(uuid, "NVIDIA X MIG 1g.10gb", busy=error(NOT_SUPPORTED), numbers=(numbers[0], numbers[1]))


class FakeNvml:
    """Cards in the order of their bus."""

    def __init__(self, cards: Sequence[FakeCard]) -> None:
        self.cards = list(cards)
        self.missing: int | None = None
        """What `nvmlInit` fails with."""
        self.open = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
        """Put it in the place of the real one."""
        for name in [name for name in dir(self) if name.startswith("nvml")]:
            monkeypatch.setattr(pynvml, name, getattr(self, name))
        return self

    def nvmlInit(self) -> None:  # noqa: N802
        if self.missing is not None:
            raise error(self.missing)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "570.1"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:  # noqa: N802
        if self.cards[index].lost:
            raise error(LOST)
        return self.cards[index]

    def nvmlDeviceGetName(self, card: FakeCard) -> str:  # noqa: N802
        return card.name

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:  # noqa: N802
        return card.uuid

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=_value(card.busy))

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard) -> Any:  # noqa: N802
        return SimpleNamespace(used=_value(card.used), total=card.total)

    def nvmlDeviceGetPowerUsage(self, card: FakeCard) -> Any:  # noqa: N802
        return _value(card.milliwatts)

    def nvmlDeviceGetTemperature(self, card: FakeCard, sensor: int) -> Any:  # noqa: N802
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return _value(card.temperature)

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> list[int]:  # noqa: N802
        return [int(bool(card.instances)), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, index: int) -> FakeCard:  # noqa: N802
        if index >= len(card.instances):
            raise error(pynvml.NVML_ERROR_NOT_FOUND)
        return card.instances[index]

    def nvmlDeviceGetGpuInstanceId(self, card: FakeCard) -> int:  # noqa: N802
        return card.numbers[0]

    def nvmlDeviceGetComputeInstanceId(self, card: FakeCard) -> int:  # noqa: N802
        return card.numbers[1]


def _value(reading: Any) -> Any:
    if isinstance(reading, Exception):
        raise reading
    return reading
