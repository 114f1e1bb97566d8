"""What NVML, which needs no CUDA, says of this machine's GPUs. A reading that it does not give is missing, never 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from latentwire.sizes import format_bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one instance of a GPU that is divided (MIG), at this moment."""

    name: str
    busy: int | None
    """Percent of the last moments in which a kernel ran; NVML does not say it of an instance."""
    used: int | None
    """Bytes."""
    total: int | None
    """Bytes."""
    uuid: str = ""
    power: float | None = None
    """Watts; of an instance, those of its whole card."""
    temperature: int | None = None
    """Degrees Celsius; of an instance, those of its whole card."""
    problem: str = ""
    """What NVML said where it should have given a reading and failed."""

    @property
    def size(self) -> str:
        """Its memory, for people."""
        return "memory unknown" if self.total is None else format_bytes(self.total)

    def __str__(self) -> str:
        busy = "use unknown" if self.busy is None else f"{self.busy} % busy"
        memory = self.size if self.used is None else f"{format_bytes(self.used)} of {self.size}"
        return f"{self.name}: {busy}, {memory}" + (f" ({self.problem})" if self.problem else "")


@dataclass(frozen=True)
class Gpus:
    """GPUs of this machine; `driver` is None where there is no NVIDIA driver that answers."""

    driver: str | None
    cards: tuple[Gpu, ...]
    problem: str = ""
    """Why none can be read."""


@dataclass(frozen=True)
class _Device:
    """A card, or an instance of one."""

    uuid: str
    name: str
    handle: Any
    card: Any
    """The handle of the whole card."""
    place: str = ""
    """Of an instance: `GI/CI`, its numbers."""


def read_gpus() -> Gpus:
    """Read every GPU of this machine, even those that CUDA_VISIBLE_DEVICES hides."""
    return _read(lambda cards: cards)


def read_visible_gpus(visible: str | None, by_bus: bool = False) -> Gpus:
    """Read the GPUs that a process of ours computes on.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        by_bus: Whether CUDA counts cards in the order of their bus, as NVML does.
    """
    return _read(lambda cards: _choose_visible(cards, visible, by_bus))


def count_gpus() -> int:
    """Count the GPUs of this machine; 0 where NVML does not answer."""
    try:
        with _nvml():
            return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


class _UnclearError(Exception):
    """It cannot be told which cards are meant."""


def _read(choose: Callable[[list[_Device]], Sequence[_Device]]) -> Gpus:
    try:
        with _nvml():
            devices = choose([_identify(index) for index in range(pynvml.nvmlDeviceGetCount())])
            return Gpus(pynvml.nvmlSystemGetDriverVersion(), tuple(map(_read_device, devices)))
    except (pynvml.NVMLError, _UnclearError) as error:
        return Gpus(None, (), str(error))


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _identify(index: int) -> _Device:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return _Device(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle), handle, handle)
    except pynvml.NVMLError:  # it fell off the bus: it stays a card, of which nothing can be read
        return _Device("", f"GPU {index}", None, None)


def _read_device(device: _Device) -> Gpu:
    problems: list[str] = []

    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return None
        except pynvml.NVMLError as error:
            problems.append(str(error))
            return None

    if device.handle is None:
        return Gpu(device.name, None, None, None, problem="NVML does not find it any more")
    busy = ask(pynvml.nvmlDeviceGetUtilizationRates, device.handle)
    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, device.handle)
    milliwatts = ask(pynvml.nvmlDeviceGetPowerUsage, device.card)
    return Gpu(
        device.name,
        busy and busy.gpu,
        memory and memory.used,
        memory and memory.total,
        device.uuid,
        None if milliwatts is None else milliwatts / 1000,
        ask(pynvml.nvmlDeviceGetTemperature, device.card, pynvml.NVML_TEMPERATURE_GPU),
        "; ".join(dict.fromkeys(problems)),
    )


def _choose_visible(cards: Sequence[_Device], visible: str | None, by_bus: bool) -> list[_Device]:
    """Those that CUDA shows: all that are named, up to the first name of nothing."""
    instances = [instance for card in cards for instance in _list_instances(card)]
    # CUDA shows one instance of one card and nothing else where any card is divided and no instance is named.
    counted = instances[:1] or list(cards)
    if visible is None:
        return counted
    chosen: list[_Device] = []
    for name in (part.strip() for part in visible.split(",")):
        if name.isdecimal() and len({card.name for card in counted}) > 1 and not by_bus:
            raise _UnclearError(
                f"CUDA_VISIBLE_DEVICES is {visible}, and the cards here are of several kinds, which CUDA counts in "
                "another order than NVML. Next: `export CUDA_DEVICE_ORDER=PCI_BUS_ID`"
            )
        found = _find(name, counted, [*cards, *instances])
        if found is None:
            break
        chosen.append(found)
    return chosen


def _find(name: str, counted: Sequence[_Device], named: Sequence[_Device]) -> _Device | None:
    """By its number, its UUID or the beginning of one, or `MIG-GPU-…/GI/CI` as older drivers call an instance."""
    if name.isdecimal():
        return counted[int(name)] if int(name) < len(counted) else None
    uuid, _, place = name.removeprefix("MIG-" if name.startswith("MIG-GPU-") else "").partition("/")
    if place:
        parents = [device.card for device in named if not device.place and device.uuid.startswith(uuid)]
        fitting = [device for device in named if device.place == place and device.card in parents]
    else:
        fitting = [device for device in named if uuid and device.uuid.startswith(uuid)]
    return fitting[0] if len(fitting) == 1 else None


def _list_instances(card: _Device) -> list[_Device]:
    try:
        if pynvml.nvmlDeviceGetMigMode(card.handle)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return []
        count = pynvml.nvmlDeviceGetMaxMigDeviceCount(card.handle)
    except pynvml.NVMLError:  # a card that cannot be divided
        return []
    return [instance for index in range(count) if (instance := _identify_instance(card, index))]


def _identify_instance(card: _Device, index: int) -> _Device | None:
    try:
        handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card.handle, index)
        numbers = (pynvml.nvmlDeviceGetGpuInstanceId(handle), pynvml.nvmlDeviceGetComputeInstanceId(handle))
        uuid, name = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:  # none has this number
        return None
    return _Device(uuid, name, handle, card.handle, "/".join(map(str, numbers)))
