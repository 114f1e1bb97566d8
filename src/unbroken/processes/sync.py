"""What the processes of a run exchange: how rank 0 fared with the disk, the state, and that they still agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress

import safetensors.torch

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.checkpoint.state import Holder, Snapshot, capture_state, compare_states, restore_state
from unbroken.errors import (
    CheckpointError,
    DamagedError,
    IdentityError,
    LockedError,
    PeerError,
    StorageError,
    UnbrokenError,
)
from unbroken.exact.group import Group

_KINDS: dict[str, type[UnbrokenError]] = {
    kind.__name__: kind
    for kind in (CheckpointError, DamagedError, IdentityError, LockedError, StorageError, UnbrokenError)
}
_HEADER_SIZE = 8


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
    """
    if group.size == 1:
        return step
    if group.rank == 0:
        group.broadcast(_pack_state(step, capture_state(state, copy=False)))
        return step
    step, snapshot = _unpack_state(group.broadcast(None))
    restore_state(snapshot, state)
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
                f"draw from the global generators in the steps only, or the same on every rank."
            )


def _act_and_report(group: Group, action: Callable[[], None]) -> None:
    try:
        action()
    except BaseException as error:
        with suppress(PeerError):  # what happened here is the cause
            group.broadcast(_encode_error(error))
        raise
    group.broadcast(b"")


def _pack_state(step: int, snapshot: Snapshot) -> bytes:
    header = encode_canonical({"step": step, "tree": snapshot.tree, "total": snapshot.digest()})
    # safetensors refuses views into one storage, which a state may well hold.
    tensors = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in snapshot.tensors.items()}
    return len(header).to_bytes(_HEADER_SIZE, "little") + header + safetensors.torch.save(tensors)


def _unpack_state(payload: bytes) -> tuple[int, Snapshot]:
    end = _HEADER_SIZE + int.from_bytes(payload[:_HEADER_SIZE], "little")
    header = json.loads(payload[_HEADER_SIZE:end])
    snapshot = Snapshot(safetensors.torch.load(payload[end:]), header["tree"])
    if snapshot.digest() != header["total"]:
        raise CheckpointError(
            "The state that rank 0 sent did not arrive as it was sent. Checkpoints are intact. Next: check the "
            "network, then run the same command again."
        )
    return int(header["step"]), snapshot


def _encode_error(error: BaseException) -> bytes:
    kind = type(error).__name__
    sentence = str(error) if isinstance(error, UnbrokenError) else f"Rank 0 failed: {kind}: {error}"
    return encode_canonical({"kind": kind, "sentence": sentence, "exit": getattr(error, "exit_code", 1)})


def _decode_error(payload: bytes) -> UnbrokenError:
    fields = json.loads(payload)
    error = _KINDS.get(fields["kind"], UnbrokenError)(fields["sentence"])
    error.exit_code = fields["exit"]
    return error
