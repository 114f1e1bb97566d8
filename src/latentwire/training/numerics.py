"""What the bits of a training depend on besides its identity: hardware, library versions and switches."""

from __future__ import annotations

import torch

from latentwire import environment
from latentwire.params.sections import Runtime, Train
from unbroken.canonical_json import JSON
from unbroken.environment import processor_name
from unbroken.exact.group import Group


def describe_numerics(runtime: Runtime, settings: Train, group: Group) -> dict[str, JSON]:
    """Facts of this process that may change bits; a change is recorded with the step at which it happened.

    The number of processes is among them in mode `throughput` only: in mode `exact` it changes nothing. With
    portable kernels neither the model of the processor nor what only GPUs read is among them: they change nothing.
    """
    portable = runtime.numerics == "portable"
    facts: dict[str, JSON] = {
        "device": "portable" if portable else device_name(),
        "capability": _capability(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "cublas_workspace": "" if portable else environment.cublas_workspace(),
        "mode": settings.mode,
    }
    return facts if settings.mode == "exact" else {**facts, "processes": group.size}


def describe_execution(runtime: Runtime, group: Group) -> dict[str, JSON]:
    """Facts of this start that change no bit; for its `start` event."""
    return {
        "processes": group.size,
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "gpus": group.size if runtime.device == "cuda" else 0,
    }


def device_name() -> str:
    """The GPU of this process, or its processor."""
    if torch.get_default_device().type == "cuda":
        return torch.cuda.get_device_name()
    return processor_name()


def _capability() -> str:
    if torch.get_default_device().type == "cuda":
        return "{}.{}".format(*torch.cuda.get_device_capability())
    return str(torch.backends.cpu.get_cpu_capability())
