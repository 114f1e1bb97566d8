"""`python -m unbroken node`: the agent on each machine of a job but the first. Imports no torch."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from unbroken import environment
from unbroken.environment import Nodes
from unbroken.errors import PeerError, UnbrokenError, log_sentence
from unbroken.launcher.channel import AGENT, FAIL, HEAD, STOP, Channel, Message
from unbroken.launcher.local_ranks import POLL_S, LocalRanks, RankRange, combine_exit_codes
from unbroken.preemption import EXIT_PREEMPTED, StopFlag

_CONNECT_S = 5.0
_PAUSE_S = 0.3


def run_agent(stop: StopFlag, report: Callable[[str], None] = log_sentence) -> int:
    """`python -m unbroken node`: serve the heads of this job, one after the other, until a signal; the exit code."""
    try:
        nodes = environment.read_nodes()
        if nodes is None:
            raise UnbrokenError(
                "UNBROKEN_NODES is not set or 1, so there is no machine to help. Next: set UNBROKEN_NODES, "
                "UNBROKEN_NODE, UNBROKEN_HEAD and UNBROKEN_TOKEN as on machine 0."
            )
        return _Agent(nodes, stop, report).serve()
    except UnbrokenError as error:
        report(str(error))
        return error.exit_code


class _Agent:
    """A machine that gets its ranks from the head."""

    def __init__(self, nodes: Nodes, stop: StopFlag, report: Callable[[str], None]) -> None:
        self._nodes, self._stop, self._report = nodes, stop, report
        self._ranks: LocalRanks | None = None
        self._codes: list[int] = []
        self._stopped = False

    def serve(self) -> int:
        """Serve heads until a signal comes.

        Returns:
            75 when the signal stopped ranks of this machine, else 0.

        Raises:
            PeerError: Machine 0 does not answer.
        """
        timeout, answered = environment.read_peer_timeout_s(), time.monotonic()
        while not self._stop.is_set():
            trouble = self._serve_one_head()
            if not trouble:
                answered = time.monotonic()
            elif time.monotonic() - answered > timeout:
                raise PeerError(
                    f"Machine 0 ({self._nodes.host}, port {self._nodes.port}) did not answer this agent for "
                    f"{timeout:.0f} s: {trouble}. Next: look whether it runs, and whether UNBROKEN_HEAD and "
                    f"UNBROKEN_TOKEN are the same on both; then start the job again."
                )
            time.sleep(_PAUSE_S)
        return EXIT_PREEMPTED if self._stopped else 0

    def _serve_one_head(self) -> str:
        """Serve the head that is there now, if any; returns what is wrong with machine 0, "" for nothing."""
        try:
            connection = socket.create_connection((self._nodes.host, self._nodes.port), timeout=_CONNECT_S)
        except ConnectionRefusedError:
            return ""
        except OSError as error:
            return str(error)
        with closing(Channel(connection, self._nodes.token, AGENT, HEAD)) as channel:
            farewell = self._obey_until_farewell(channel)
            return "" if channel.proved else farewell

    def _obey_until_farewell(self, channel: Channel) -> str:
        """Obey a head until it hangs up, or a signal comes while there is nothing to do."""
        cores, gpus = environment.usable_cores(), environment.usable_gpus()
        channel.send(node=self._nodes.number, cores=cores, gpus=gpus)
        idle, farewell = True, ""
        while self._ranks or not (farewell or (idle and self._stop.is_set())):
            try:
                for message in [] if farewell else channel.messages():
                    idle = False
                    self._obey(message, channel)
            except PeerError as error:
                farewell = str(error)
                self._fail_ranks(farewell)
            self._poll_ranks(channel)
            time.sleep(POLL_S)
        return farewell

    def _obey(self, message: Message, channel: Channel) -> None:
        if "command" in message:
            try:
                folder = Path(message["folder"])
                self._ranks = LocalRanks(RankRange(**message["ranks"]), message["command"], self._report, folder)
            except OSError as error:
                self._report(f"Machine {self._nodes.number} could not start its ranks: {error}.")
                channel.send(ended=1)
        elif self._ranks and message["order"] == STOP:
            self._ranks.stop()
        elif self._ranks and message["order"] == FAIL:
            self._ranks.fail()

    def _fail_ranks(self, why: str) -> None:
        if self._ranks:
            self._report(f"Machine {self._nodes.number} lost machine 0: {why}. Its ranks end.")
            self._ranks.fail()

    def _poll_ranks(self, channel: Channel) -> None:
        if self._ranks is None:
            return
        if self._stop.is_set():
            self._stopped = True
            self._ranks.stop()
        self._codes += self._ranks.poll()
        if not self._ranks.running:
            channel.send(ended=combine_exit_codes(self._codes))
            self._ranks, self._codes = None, []
