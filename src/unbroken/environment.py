"""Every environment variable that unbroken reads; they are read nowhere else."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from unbroken.cgroups import read_cpu_quota
from unbroken.errors import UnbrokenError

DEADLINE = "UNBROKEN_DEADLINE_S"
"""Seconds between the first stop signal and a forced exit."""

VERDICT = "UNBROKEN_VERDICT"
"""A file that also receives the verdict: for scripts whose exit code is swallowed on the way (DVC)."""

JOB_END = "SLURM_JOB_END_TIME"
"""Set by SLURM: when the job's time is up, in seconds since 1970."""

TRACE = "UNBROKEN_TRACE"
"""Set by `prove`: write the digests of the state after every step to `trace.jsonl` in the run folder."""

INTERRUPT = "UNBROKEN_INTERRUPT"
"""Set by `prove`: the signal that the run sends to itself, and where, such as `TERM@5` or `KILL@9:save`."""

INTERRUPT_RANK = "UNBROKEN_INTERRUPT_RANK"
"""The rank that UNBROKEN_INTERRUPT is meant for; 0 when unset."""

SABOTAGE = "UNBROKEN_SABOTAGE"
"""Set by `prove`: the part of the state that is dropped on a resume, such as `rng` or `optimizer`."""

EVERY = "UNBROKEN_EVERY"
"""Set by `prove`: steps between two checkpoints, instead of what the program asks for."""

FOLDER = "UNBROKEN_FOLDER"
"""Set by `prove` for the program that it runs: where the program shall keep its run. A run elsewhere is refused."""

START_OVER = "UNBROKEN_START_OVER"
"""1: the user's word that a run may start afresh although it has checkpoints, of which none is whole."""

PEER_TIMEOUT = "UNBROKEN_PEER_TIMEOUT_S"
"""Seconds that a process waits for the others of its training before it gives up."""

NODES = "UNBROKEN_NODES"
"""How many machines train together. Unset or 1: this one alone."""

NODE = "UNBROKEN_NODE"
"""Number of this machine, from 0."""

HEAD = "UNBROKEN_HEAD"
"""Machine 0 as HOST:PORT, or as a host or SLURM's list of hosts: then the port follows from SLURM_JOB_ID."""

TOKEN = "UNBROKEN_TOKEN"
"""A random secret that the machines of a job share, so that they obey nobody else."""


def _read_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed, and nothing relative to it can be meant
        return Path()


_STARTED_IN = _read_folder()
"""A path in a variable is relative to where the program was started: its loop may change the directory."""

DEFAULT_DEADLINE_S = 90.0
DEFAULT_PEER_TIMEOUT_S = 600.0


def read_deadline_s() -> float | None:
    """Seconds from UNBROKEN_DEADLINE_S; None when it is unset.

    Raises:
        UnbrokenError: It is not a positive number.
    """
    return _read_seconds(DEADLINE, DEFAULT_DEADLINE_S)


def read_peer_timeout_s() -> float:
    """Seconds from UNBROKEN_PEER_TIMEOUT_S; ten minutes when it is unset.

    Raises:
        UnbrokenError: It is not a positive number.
    """
    return _read_seconds(PEER_TIMEOUT, DEFAULT_PEER_TIMEOUT_S) or DEFAULT_PEER_TIMEOUT_S


def _read_seconds(name: str, example: float) -> float | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UnbrokenError(
            f"{name} is {text!r}, expected a number of seconds above 0. Next: `export {name}={example:.0f}`."
        )
    return seconds


def job_end() -> float | None:
    """Seconds since 1970 at which SLURM ends the job; None outside SLURM, or when it does not say."""
    text = os.environ.get(JOB_END, "")
    return float(text) if text.isdecimal() else None


def slurm_job() -> str | None:
    """The job as `scontrol` names it, `120` or `120_4` for a task of an array; None outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID") or None


def slurm_restart() -> int | None:
    """How often SLURM has requeued the job; None outside SLURM, 0 where it does not say."""
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return (int(count) if count.isdecimal() else 0) if slurm_job() else None


def verdict_path() -> Path | None:
    """Where the calling script wants the verdict; None when it did not ask."""
    text = os.environ.get(VERDICT)
    return _STARTED_IN / text if text else None


def may_start_over() -> bool:
    """Whether the user said that a run without a whole checkpoint may start afresh."""
    return os.environ.get(START_OVER) == "1"


def read_fault_variables() -> dict[str, str]:
    """What `prove` asks of a run: the variables above that are set, by name."""
    names = (TRACE, INTERRUPT, INTERRUPT_RANK, SABOTAGE, EVERY)
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def read_proof_folder() -> Path | None:
    """Where `prove` wants the run; None in ordinary use, when UNBROKEN_FOLDER is the program's own affair."""
    text = os.environ.get(FOLDER)
    return _STARTED_IN / text if text and read_fault_variables() else None


@dataclass(frozen=True)
class RankInfo:
    """The place of this process among those of its training."""

    rank: int
    size: int
    local_rank: int
    address: str
    """Host of rank 0."""
    port: int
    has_store: bool = False
    """torchrun's own process already listens at the address."""
    attempt: str = "0"
    """Tells the groups that meet at one address apart."""


def read_rank_info() -> RankInfo | None:
    """From torchrun or our launcher (RANK …), else from srun (SLURM_PROCID …); None for a single process.

    Raises:
        UnbrokenError: One variable is set and another one that belongs to it is not.
    """
    if os.environ.get("RANK") and os.environ.get("WORLD_SIZE"):
        return _rank_from_launcher()
    # SLURM_NTASKS alone is what was asked for: a batch script has it too, and the shell of `salloc`, in a step of one.
    if os.environ.get("SLURM_STEP_ID") and _step_size() != "1":
        return _rank_from_srun()
    return None


def _step_size() -> str:
    return os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1")


def _rank_from_launcher() -> RankInfo:
    return RankInfo(
        rank=_require_number("RANK"),
        size=_require_number("WORLD_SIZE"),
        local_rank=_require_number("LOCAL_RANK"),
        address=_require("MASTER_ADDR"),
        port=_require_number("MASTER_PORT"),
        has_store=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _rank_from_srun() -> RankInfo:
    job, step = _require_number("SLURM_JOB_ID"), _require_number("SLURM_STEP_ID")
    return RankInfo(
        rank=_require_number("SLURM_PROCID"),
        size=_require_number("SLURM_STEP_NUM_TASKS" if os.environ.get("SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS"),
        local_rank=_require_number("SLURM_LOCALID"),
        address=first_host(_require("SLURM_JOB_NODELIST")),
        port=_job_port(job, step),
        attempt=f"{job}.{step}",
    )


_PORTS = range(20000, 30000)
_LAST_STEP = 15


def _job_port(job: int, step: int) -> int:
    return _PORTS.start + (job * (_LAST_STEP + 1) + step) % len(_PORTS)


@dataclass(frozen=True)
class Nodes:
    """The machines that train together."""

    count: int
    number: int
    """Of this one, from 0."""
    host: str
    port: int
    token: str


def read_nodes() -> Nodes | None:
    """From UNBROKEN_NODES and its companions; None for one machine.

    Raises:
        UnbrokenError: One of them is missing or malformed.
    """
    if os.environ.get(NODES, "1") == "1":
        return None
    for name in (NODES, NODE, HEAD, TOKEN):
        if not os.environ.get(name):
            raise UnbrokenError(
                f"{name} is not set, but {NODES} is {os.environ[NODES]!r}, so this machine is one of several. "
                f"Next: set {NODES}, {NODE}, {HEAD} and {TOKEN} on each of them, or `unset {NODES}`."
            )
    host, port = _parse_head(os.environ[HEAD])
    return Nodes(_require_number(NODES), _require_number(NODE), host, port, os.environ[TOKEN])


def _parse_head(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal():
        return _as_address(host), int(port)
    if os.environ.get("SLURM_JOB_ID"):
        return _as_address(first_host(text)), _job_port(_require_number("SLURM_JOB_ID"), _LAST_STEP)
    raise UnbrokenError(
        f"{HEAD} is {text!r}, expected HOST:PORT since there is no SLURM_JOB_ID. Next: `export {HEAD}={text}:29400`."
    )


def _as_address(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def terminal_kind() -> str:
    """TERM: which terminal this is; `dumb` where it can only print lines."""
    return os.environ.get("TERM", "").lower()


def usable_cores() -> int:
    """Cores that this process may use: those that it is bound to, or fewer, of whole ones, that its cgroup allows."""
    bound, quota = len(os.sched_getaffinity(0)), read_cpu_quota()
    return bound if quota is None else max(1, min(bound, int(quota + 0.01)))


def processor_name() -> str:
    """Model of the processor; its architecture where the system does not say."""
    return _read_processor_fact("model name") or platform.machine()


def processor_vendor() -> str:
    """Who made the processor, such as `GenuineIntel`; its architecture where the system does not say."""
    return _read_processor_fact("vendor_id|CPU implementer") or platform.machine()


def has_avx2() -> bool:
    """Whether this is an x86-64 processor with AVX2 and FMA, as the system says."""
    flags = _read_processor_fact("flags") if platform.machine() == "x86_64" else None
    return flags is not None and {"avx2", "fma"} <= set(flags.split())


def _read_processor_fact(names: str) -> str | None:
    """What /proc/cpuinfo says of the first processor; None where it does not."""
    found = re.search(rf"^(?:{names})\s*:\s*(.+)$", _describe_first_processor(), re.M)
    return found[1] if found else None


@cache
def _describe_first_processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            return "".join(takewhile(str.strip, file))  # the file is long where there are many cores
    except OSError:
        return ""


def usable_gpus() -> int:
    """GPUs that CUDA_VISIBLE_DEVICES names; without it, all that the driver lists."""
    visible = visible_gpus()
    if visible is not None:
        return visible
    listed = Path("/proc/driver/nvidia/gpus")
    return len(list(listed.iterdir())) if listed.is_dir() else 0


def visible_gpus() -> int | None:
    """How many GPUs CUDA_VISIBLE_DEVICES names; None where it is not set and all are visible."""
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if text is None else len([name for name in text.split(",") if name.strip()])


def first_host(nodelist: str) -> str:
    """`node03` of `node[03-07,12],login1`, or `rack0n1` of `rack[0-1]n[1-4]`: SLURM's way to write a list of hosts."""
    prefix, bracket, rest = nodelist.partition("[")
    if not bracket or "," in prefix:
        return nodelist.partition(",")[0]
    numbers, _, suffix = rest.partition("]")
    return prefix + re.split("[-,]", numbers)[0] + first_host(suffix)


def _require(name: str) -> str:
    text = os.environ.get(name)
    if not text:
        raise UnbrokenError(
            f"{name} is not set, but other variables say that this process is one of several. Next: start it with "
            "`torchrun`, `srun`, or without RANK and WORLD_SIZE in the environment."
        )
    return text


def _require_number(name: str) -> int:
    text = _require(name)
    if not text.isdecimal():
        raise UnbrokenError(f"{name} is {text!r}, expected a number. Next: `unset {name}`, or set it right.")
    return int(text)
