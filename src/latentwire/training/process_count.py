"""How many training processes this machine starts. Imports no torch: the parent that starts them needs none."""

from __future__ import annotations

from latentwire import environment
from latentwire.errors import ConfigurationError
from latentwire.machine import count_gpus
from latentwire.params.load import Params
from unbroken.environment import usable_cores, visible_gpus


def count_processes(values: Params) -> int:
    """Training processes of this machine: LATENTWIRE_PROCESSES, or one per GPU (on `cuda`) or usable core, at most V.

    Raises:
        ConfigurationError: More were asked for than there are virtual shards.
    """
    asked, shards = environment.requested_processes(), values.train.shards
    if asked is not None and asked > shards:
        raise ConfigurationError(
            f"LATENTWIRE_PROCESSES is {asked}, but a step has only {shards} virtual shards (train.shards); expected at "
            f"most {shards}. Next: `export LATENTWIRE_PROCESSES={shards}`."
        )
    gpus = count_usable_gpus() if values.runtime.device == "cuda" else 0
    return min(shards, count_processes_for(values, usable_cores(), gpus))


def count_processes_for(values: Params, cores: int, gpus: int) -> int:
    """Training processes of a machine with this number of usable cores and GPUs."""
    return environment.requested_processes() or max(1, gpus if values.runtime.device == "cuda" else cores)


def count_usable_gpus() -> int:
    """GPUs that this process may use, as the driver counts them; 0 where there is none."""
    installed, visible = count_gpus(), visible_gpus()
    return installed if visible is None else min(installed, visible)
