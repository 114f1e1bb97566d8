"""A state on its way from rank 0 to the others: piece by piece, so that nobody holds it twice, each tensor checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import torch

from unbroken.canonical_json import JSON, digest_json, encode_canonical
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.tensorfile import TensorSpec, allocate_tensor, begin_digest, tensor_bytes, tensor_spec
from unbroken.errors import CheckpointError, PeerError, UnbrokenError, describe_error
from unbroken.exact.group import Group

CHUNK = 1 << 22
"""Bytes of one message. Small tensors share one, large ones take several."""

_GOES_ON, _FAILED = b"+", b"-"


def send_snapshot(group: Group, step: int, take: Callable[[], Snapshot]) -> None:
    """On rank 0: give the others a snapshot. If that fails midway, they raise it too instead of waiting for the rest.

    Raises:
        PeerError: Another process is gone.
        CheckpointError: The state cannot be stored, so not sent.
    """
    try:
        _send(group, step, take())
    except PeerError:
        raise
    except BaseException as error:
        sentence = str(error) if isinstance(error, UnbrokenError) else describe_error(error)
        group.broadcast(_FAILED + sentence.encode())
        raise


def receive_snapshot(group: Group) -> tuple[int, Snapshot]:
    """On another rank: the step and the snapshot. What fails here is raised after the last message: no rank waits.

    Raises:
        PeerError: Another process is gone.
        CheckpointError: The state did not arrive as it was sent.
        UnbrokenError: Rank 0 failed.
    """
    announced = json.loads(_hear(group))
    specs = {name: TensorSpec(dtype, tuple(shape)) for name, dtype, shape in announced["tensors"]}
    count = -(-sum(spec.nbytes for spec in specs.values()) // CHUNK)
    messages = (memoryview(_hear(group)) for _ in range(count))
    try:
        tensors, digests = _fill_tensors(specs, messages)
    except (MemoryError, RuntimeError):  # here alone: rank 0 is listened to until its end
        for _ in messages:
            pass
        _hear(group)
        raise
    sealed = json.loads(_hear(group))
    for name in specs:
        if digests[name] != sealed["digests"][name]:
            raise _damaged_error(f"tensor {name}")
    if digest_json(announced["tree"]) != sealed["tree"]:
        raise _damaged_error("the tree")
    return int(announced["step"]), Snapshot(tensors, announced["tree"], digests)


def _send(group: Group, step: int, snapshot: Snapshot) -> None:
    specs = {name: tensor_spec(tensor, name) for name, tensor in snapshot.tensors.items()}
    listed: list[JSON] = [[name, spec.dtype, list(spec.shape)] for name, spec in specs.items()]
    _tell(group, {"step": step, "tree": snapshot.tree, "tensors": listed})
    digests: dict[str, str] = {}
    for message in _fill_messages(_hashed_pieces(snapshot.tensors, specs, digests)):
        group.broadcast(message)
    _tell(group, {"digests": digests, "tree": digest_json(snapshot.tree)})


def _tell(group: Group, content: JSON) -> None:
    group.broadcast(_GOES_ON + encode_canonical(content))


def _hear(group: Group) -> bytes:
    message = group.broadcast(None)
    if message[:1] == _FAILED:
        raise UnbrokenError(message[1:].decode())
    return message[1:]


def _hashed_pieces(
    tensors: Mapping[str, torch.Tensor], specs: Mapping[str, TensorSpec], digests: dict[str, str]
) -> Iterator[memoryview]:
    """The bytes of one tensor after the other, of at most `CHUNK`; the digests are filled in."""
    for name, tensor in tensors.items():
        data, digest = tensor_bytes(tensor), begin_digest(specs[name])
        for start in range(0, len(data), CHUNK):
            piece = data[start : start + CHUNK]
            digest.update(piece)
            yield piece
        digests[name] = digest.hexdigest()


def _fill_messages(pieces: Iterator[memoryview]) -> Iterator[bytes]:
    """Messages of exactly `CHUNK` bytes, but for the last one."""
    message = bytearray(_GOES_ON)
    for piece in pieces:
        while piece:
            room = CHUNK + len(_GOES_ON) - len(message)
            message += piece[:room]
            piece = piece[room:]
            if len(message) == CHUNK + len(_GOES_ON):
                yield bytes(message)
                message = bytearray(_GOES_ON)
    if len(message) > len(_GOES_ON):
        yield bytes(message)


def _fill_tensors(
    specs: Mapping[str, TensorSpec], messages: Iterator[memoryview]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and their digests, in the order in which they were announced."""
    tensors, digests, message = {}, {}, memoryview(b"")
    for name, spec in specs.items():
        tensors[name] = allocate_tensor(spec)
        room, digest = tensor_bytes(tensors[name]), begin_digest(spec)
        while room:
            message = message or next(messages)
            size = min(len(room), len(message))
            room[:size] = message[:size]
            digest.update(message[:size])
            room, message = room[size:], message[size:]
        digests[name] = digest.hexdigest()
    return tensors, digests


def _damaged_error(what: str) -> CheckpointError:
    return CheckpointError(
        f"The state that rank 0 sent did not arrive as it was sent: {what} differs. Checkpoints are intact. Next: "
        "check the network, then run the same command again."
    )
