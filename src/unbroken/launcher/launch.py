"""Several processes of one training, each started as this process was. Imports no torch.

sys.exit(launch_ranks(4, StopFlag.install()))

Each copy finds its rank in RANK, LOCAL_RANK and WORLD_SIZE, as under torchrun, and computes with one thread, so that
the number of threads never changes a sum. A stop signal is passed on. No copy outlives this process, or one that
failed. Where UNBROKEN_NODES names several machines, the others take part: unbroken.launcher.head.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from unbroken import environment
from unbroken.errors import log_sentence
from unbroken.launcher.head import Rule, launch_on_nodes, rank_per_core
from unbroken.launcher.local_ranks import POLL_S, LocalRanks, RankRange, combine_exit_codes
from unbroken.preemption import StopFlag


def launch_ranks(
    count: int,
    stop: StopFlag,
    command: Sequence[str] | None = None,
    report: Callable[[str], None] = log_sentence,
    limit: int | None = None,
    rule: Rule = rank_per_core,
) -> int:
    """Run copies of a command to their end.

    Args:
        count: How many on this machine, at least 1.
        stop: This process's flag; once it is set, every copy gets a TERM.
        command: None is the command of this process.
        report: Receives a sentence when a copy was killed or a machine was lost.
        limit: The most on all machines together, such as the number of virtual shards; at least `count`.
        rule: How many each other machine starts, from its usable cores and GPUs.

    Returns:
        0 when all ended with 0; 75 when some were stopped and none failed, or when a machine was lost; otherwise the
        code of the first that failed, 1 for one that a signal killed.

    Raises:
        UnbrokenError: The variables of a job on several machines are incomplete.
        Preempted: A stop came while this machine waited for the others.
    """
    nodes = environment.read_nodes()
    if nodes is not None:
        return launch_on_nodes(nodes, count, command or own_command_line(), stop, report, limit, rule)
    return _wait_for_ranks(LocalRanks(RankRange.on_one_machine(count), command or own_command_line(), report), stop)


def _wait_for_ranks(ranks: LocalRanks, stop: StopFlag) -> int:
    codes = list[int]()
    while ranks.running:
        if stop.is_set():
            ranks.stop()
        codes += ranks.poll()
        time.sleep(POLL_S)
    return combine_exit_codes(codes)


def own_command_line() -> list[str]:
    """The command line of this process, its interpreter's options included."""
    return [sys.executable, *sys.orig_argv[1:]]
