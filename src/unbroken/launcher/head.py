"""One training on several machines that have no srun inside their container. Imports no torch.

Every machine of a job has the same UNBROKEN_NODES (how many), UNBROKEN_HEAD (machine 0) and UNBROKEN_TOKEN (a random
secret), and its own UNBROKEN_NODE. Machine 0 runs the user's command, each other one the agent, from the same folder
on a shared disk:

    UNBROKEN_NODES=2 UNBROKEN_NODE=0 UNBROKEN_HEAD=node0:29400 UNBROKEN_TOKEN=… dvc repro
    UNBROKEN_NODES=2 UNBROKEN_NODE=1 UNBROKEN_HEAD=node0:29400 UNBROKEN_TOKEN=… python -m unbroken node

Within a SLURM job UNBROKEN_HEAD may be $SLURM_JOB_NODELIST. `launch_ranks` on machine 0 is the head: it waits for the
agents, gives each its ranks, and waits until they have ended. An agent then waits for the next head. It exits with 0 on
a signal, with 75 if that stopped ranks of its own, and with 1 when machine 0 does not answer or has another token for
UNBROKEN_PEER_TIMEOUT_S; a machine that refuses the connection is there, and runs something else at the moment.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from unbroken import environment
from unbroken.environment import Nodes
from unbroken.errors import PeerError, UnbrokenError
from unbroken.launcher.channel import AGENT, FAIL, HEAD, STOP, Channel, Message
from unbroken.launcher.local_ranks import POLL_S, LocalRanks, RankRange, combine_exit_codes, find_free_port
from unbroken.preemption import EXIT_PREEMPTED, StopFlag
from unbroken.run_folder import verdict

Rule = Callable[[int, int], int]
"""Usable cores and GPUs of a machine → how many ranks it starts."""

_QUIET_S = 5.0  # a longer wait is reported


def rank_per_core(cores: int, _gpus: int) -> int:
    """One rank for each core."""
    return cores


def launch_on_nodes(
    nodes: Nodes,
    count: int,
    command: Sequence[str],
    stop: StopFlag,
    report: Callable[[str], None],
    limit: int | None,
    rule: Rule,
) -> int:
    """`launch_ranks` on machine 0 of several: `count` ranks here, and on the others what the rule says, `limit` in all.

    When a machine does not come or is lost, all ranks end, and both the verdict and the returned code are 75.

    Raises:
        UnbrokenError: This is not machine 0, or it cannot listen at the head's address.
        Preempted: A stop came while this machine waited for the others.
    """
    if nodes.number != 0:
        raise UnbrokenError(
            f"UNBROKEN_NODE is {nodes.number}, but training starts on machine 0, which tells the others. Next: run "
            f"`python -m unbroken node` here, and this command on machine 0."
        )
    address = _own_address(nodes.host)
    try:
        with _gathered_machines(nodes, address, stop, report) as machines:
            offers = [rule(machine.cores, machine.gpus) for machine in machines]
            own_range, *other_ranges = divide_ranks([count, *offers], limit, nodes.host, find_free_port(address))
            for machine, ranks in zip(machines, other_ranges, strict=True):
                machine.start(ranks, command)
            return _wait_for_ranks(LocalRanks(own_range, command, report), machines, stop)
    except _LostError as error:
        report(f"{error} Checkpoints are intact. Next: run the same command again, on what is left.")
        verdict.announce_verdict(verdict.Verdict(EXIT_PREEMPTED, None, stop.signal))
        return EXIT_PREEMPTED


class _LostError(PeerError):
    """A machine did not come, or is gone."""

    exit_code = EXIT_PREEMPTED


class _Machine:
    """Another machine, as the head sees it."""

    def __init__(self, channel: Channel, offer: Message) -> None:
        self.number, self.cores, self.gpus = int(offer["node"]), int(offer["cores"]), int(offer["gpus"])
        self.channel = channel
        self.busy = False
        self.lost = ""
        self._told: set[str] = set()

    def start(self, ranks: RankRange, command: Sequence[str]) -> None:
        """Give it its ranks, if there are any for it."""
        if ranks.count:
            self.busy = True
            self.channel.send(ranks=asdict(ranks), command=list(command), folder=os.getcwd())

    def send_order(self, order: str) -> None:
        """Pass on an order, once."""
        if self.busy and order not in self._told:
            self._told.add(order)
            self.channel.send(order=order)

    def poll(self) -> list[int]:
        """The exit code of its ranks, once they have all ended."""
        if not self.busy:
            return []
        try:
            codes = [int(message["ended"]) for message in self.channel.messages()]
        except PeerError as error:
            self.lost, codes = str(error), []
        self.busy = not codes and not self.lost
        return codes


def _wait_for_ranks(ranks: LocalRanks, machines: Sequence[_Machine], stop: StopFlag) -> int:
    codes = list[int]()
    while ranks.running or any(machine.busy for machine in machines):
        if stop.is_set():
            ranks.stop()
            _send_order(machines, STOP)
        codes += ranks.poll()
        for machine in machines:
            codes += machine.poll()
        if combine_exit_codes(codes) not in (0, EXIT_PREEMPTED) or any(machine.lost for machine in machines):
            ranks.fail()
            _send_order(machines, FAIL)
        time.sleep(POLL_S)
    for machine in machines:
        if machine.lost:
            raise _LostError(f"Machine {machine.number} was lost while it trained: {machine.lost}.")
    return combine_exit_codes(codes)


def _send_order(machines: Sequence[_Machine], order: str) -> None:
    for machine in machines:
        machine.send_order(order)


def divide_ranks(counts: Sequence[int], limit: int | None, host: str, port: int) -> list[RankRange]:
    """The ranks of each machine, from how many it could start; a limit takes from the last ones first."""
    granted = list[int]()
    for count in counts:
        granted.append(count if limit is None else min(count, limit - sum(granted)))
    return [RankRange(sum(granted[:index]), count, sum(granted), host, port) for index, count in enumerate(granted)]


@contextmanager
def _gathered_machines(
    nodes: Nodes, address: str, stop: StopFlag, report: Callable[[str], None]
) -> Iterator[list[_Machine]]:
    """All other machines, in order, for as long as they are needed."""
    with _open_listener(address, nodes.port) as listener:
        meeting = _Meeting(nodes, listener, report)
        try:
            meeting.wait(stop)
            listener.close()  # an agent that comes later waits for the next head
            yield [machine for _, machine in sorted(meeting.machines.items())]
        finally:
            meeting.close()


class _Meeting:
    """The head's wait for the agents."""

    def __init__(self, nodes: Nodes, listener: socket.socket, report: Callable[[str], None]) -> None:
        self.machines: dict[int, _Machine] = {}
        self._strangers: list[Channel] = []
        self._nodes, self._listener, self._report = nodes, listener, report

    def wait(self, stop: StopFlag) -> None:
        """Wait until all are here.

        Raises:
            _LostError: One did not come within UNBROKEN_PEER_TIMEOUT_S.
            Preempted: A stop came meanwhile.
        """
        begun, timeout, reported = time.monotonic(), environment.read_peer_timeout_s(), False
        while missing := sorted({*range(1, self._nodes.count)} - {*self.machines}):
            stop.check()
            waited, who = time.monotonic() - begun, ", ".join(map(str, missing))
            if waited > timeout:
                raise _LostError(f"No agent came from machine {who} in {timeout:.0f} s (`python -m unbroken node`).")
            if waited > _QUIET_S and not reported:
                reported = True
                self._report(f"Waiting for the agent of machine {who}, at most {timeout:.0f} s.")
            self._accept()
            self._poll_strangers()
            self._poll_machines()
            time.sleep(POLL_S)

    def close(self) -> None:
        """Close every connection."""
        for channel in (*self._strangers, *(machine.channel for machine in self.machines.values())):
            channel.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        channel = Channel(connection, self._nodes.token, HEAD, AGENT)
        channel.send()  # so that an agent with another token sees it
        self._strangers.append(channel)

    def _poll_strangers(self) -> None:
        for channel in tuple(self._strangers):
            try:
                messages = channel.messages()
            except PeerError as error:
                self._strangers.remove(channel)
                channel.close()
                self._report(f"A connection to the head was refused: {error}.")
                continue
            if messages:
                self._strangers.remove(channel)
                machine = _Machine(channel, messages[0])
                if earlier := self.machines.pop(machine.number, None):
                    earlier.channel.close()
                self.machines[machine.number] = machine

    def _poll_machines(self) -> None:
        for machine in tuple(self.machines.values()):
            try:
                machine.channel.messages()
            except PeerError:
                del self.machines[machine.number]
                machine.channel.close()


def _open_listener(address: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((address, port))
    except OSError as error:
        raise UnbrokenError(
            f"The head cannot listen at {address or 'any address'}, port {port}: {error}. Next: see who does "
            "(`ss -ltnp`), or set UNBROKEN_HEAD to HOST:PORT with another port on all machines."
        ) from None
    listener.setblocking(False)
    return listener


def _own_address(host: str) -> str:
    """Where the head listens: only at the address of its name, which is loopback for `localhost`.

    Some systems give a machine's own name a loopback address (Debian: 127.0.1.1). The others do not come that way, so
    there it has to be every address; a connection without the token is refused at any of them.
    """
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise UnbrokenError(
            f"The head's name {host!r} has no address here: {error}. Next: set UNBROKEN_HEAD to a name or address "
            f"of machine 0 that all machines know, with a port: HOST:PORT."
        ) from None
    return "" if address.startswith("127.") and host != address else address
