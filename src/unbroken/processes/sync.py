"""What the processes of a run exchange: how rank 0 fared with the disk, the state, and that they still agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.checkpoint.differences import compare_states
from unbroken.checkpoint.state import Holder, Snapshot, capture_state, restore_state
from unbroken.errors import (
    CheckpointError,
    DamagedError,
    IdentityError,
    LockedError,
    PeerError,
    StorageError,
    UnbrokenError,
    describe_error,
)
from unbroken.exact.group import Group
from unbroken.processes.state_stream import receive_snapshot, send_snapshot

_KINDS: dict[str, type[UnbrokenError]] = {
    kind.__name__: kind
    for kind in (CheckpointError, DamagedError, IdentityError, LockedError, StorageError, UnbrokenError)
}


def run_on_rank_zero(group: Group, action: Callable[[], None]) -> None:
    """Rank 0 acts, the others wait. What it raises is raised on all, with the same sentence and exit code."""
    if group.rank == 0:
        _act_and_report(group, action)
    elif failure := group.broadcast(None):
        raise _decode_error(failure)


def broadcast_state(group: Group, step: int, state: Mapping[str, Holder]) -> int:
    """Give the state of rank 0 to all others, and its step, which is returned.

    Raises:
        CheckpointError: A process builds other objects than rank 0, or the state arrived damaged.
        UnbrokenError: What fails on one process is raised on all, with one sentence.
    """
    if group.size == 1:
        return step
    failure: Exception | None = None
    try:
        if group.rank == 0:
            send_snapshot(group, step, lambda: capture_state(state, copy=False))
        else:
            step, snapshot = receive_snapshot(group)
            restore_state(snapshot, state)
    except PeerError:
        raise
    except Exception as error:
        failure = _name_rank(error, group.rank)
    _raise_first(group, failure)
    return step


def check_same_state(group: Group, step: int, snapshot: Snapshot) -> None:
    """Make sure that all processes have the same state after a step.

    Raises:
        UnbrokenError: On every process, naming the first difference.
    """
    ours: JSON = {"tree": snapshot.tree, "digests": dict(snapshot.digests())}
    everyone = [json.loads(payload) for payload in group.all_gather_bytes(encode_canonical(ours))]
    for rank, theirs in enumerate(everyone):
        if places := compare_states(everyone[0]["tree"], everyone[0]["digests"], theirs["tree"], theirs["digests"]):
            raise UnbrokenError(
                f"Rank {rank} differs from rank 0 after step {step}: {places[0]}. The run would depend on the number "
                f"of processes. Next: make every rank do the same to its state, with gradients from `fold`, and "
                f"draw from the global generators in the steps only, or the same on every rank; what differs by "
                f"design, such as the statistics of a BatchNorm, is declared in `Run(per_rank=…)`."
            )


def _act_and_report(group: Group, action: Callable[[], None]) -> None:
    try:
        action()
    except BaseException as error:
        with suppress(PeerError):  # what happened here is the cause
            group.broadcast(_encode_error(error))
        raise
    group.broadcast(b"")


def _name_rank(error: Exception, rank: int) -> Exception:
    if rank and isinstance(error, CheckpointError):
        return CheckpointError(f"Rank {rank} could not take over the state of rank 0. {error}", error.why)
    return error


def _raise_first(group: Group, failure: Exception | None) -> None:
    everyone = group.all_gather_bytes(b"" if failure is None else _encode_error(failure, group.rank))
    first = next((rank for rank, payload in enumerate(everyone) if payload), None)
    if failure is not None and (first == group.rank or not isinstance(failure, UnbrokenError)):
        raise failure from None
    if first is not None:
        raise _decode_error(everyone[first]) from None


def _encode_error(error: BaseException, rank: int = 0) -> bytes:
    kind = type(error).__name__
    sentence = str(error) if isinstance(error, UnbrokenError) else f"Rank {rank} failed: {describe_error(error)}"
    return encode_canonical({"kind": kind, "sentence": sentence, "exit": getattr(error, "exit_code", 1)})


def _decode_error(payload: bytes) -> UnbrokenError:
    fields = json.loads(payload)
    error = _KINDS.get(fields["kind"], UnbrokenError)(fields["sentence"])
    error.exit_code = fields["exit"]
    return error
