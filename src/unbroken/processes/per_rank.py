"""State that differs between the processes by design: each keeps its own, and rank 0 stores that of all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.checkpoint.state import RNG, Holder, Snapshot, capture_state, restore_state
from unbroken.checkpoint.tensorfile import DTYPES, TensorSpec, allocate_tensor, tensor_bytes, tensor_spec
from unbroken.checkpoint.traits import LiveState
from unbroken.checkpoint.tree import Decoder, Encoder
from unbroken.errors import CheckpointError
from unbroken.exact.group import Group

PER_RANK_STATE = "per_rank"
"""The part of the run's state that holds them: number of the rank -> its parts."""

_CHUNK = 1 << 22


class RankStates:
    """The states of all ranks, as one part of the state of the run.

    Only after `gather` does rank 0 know those of the others, and only after `put_back` has each what was restored.
    """

    def __init__(self, holders: Mapping[str, Holder], group: Group) -> None:
        self._own, self._group = LiveState(holders), group
        self._parts: list[dict[str, Any]] = []

    @property
    def holders(self) -> Mapping[str, Holder]:
        """Those of this rank."""
        return self._own

    def gather(self, ended: bool = False) -> None:
        """Bring the states of all to rank 0, which may save then. All ranks call it.

        Raises:
            CheckpointError: One of them cannot be stored; on every rank.
        """
        failure: Exception | None = None
        snapshot = Snapshot({}, {})
        try:
            snapshot = capture_state(self._own, copy=False, ended=ended)
        except (CheckpointError, ValueError, TypeError) as error:
            failure = error
        _raise_on_all(self._group, failure)
        if self._group.size == 1:
            self._parts = [_to_values(snapshot)]
        else:
            self._parts = list(map(_to_values, gather_snapshots(self._group, snapshot)))

    def put_back(self) -> None:
        """Give each rank its own state, of those that `load_state_dict` or `gather` was told. All ranks call it.

        Raises:
            CheckpointError: It does not fit; on every rank.
        """
        failure: Exception | None = None
        try:
            restore_state(_to_snapshot(self._parts[self._group.rank]), self._own, {RNG})
        except CheckpointError as error:
            failure = error
        _raise_on_all(self._group, failure)

    def state_dict(self) -> dict[str, Any]:
        """Of all ranks, as they were gathered."""
        return {str(rank): part for rank, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Those of a checkpoint; `put_back` passes them on.

        Raises:
            CheckpointError: Another number of ranks has stored it.
        """
        if len(state) != self._group.size:
            raise CheckpointError(
                f"The checkpoint holds the states of {len(state)} ranks that differ by design (`per_rank`), but "
                f"{self._group.size} run now, and nothing says how to share them out. Next: start {len(state)} ranks.",
                "ranks",
            )
        self._parts = [state[str(rank)] for rank in range(len(state))]


def gather_snapshots(group: Group, snapshot: Snapshot) -> list[Snapshot]:
    """The snapshots of all ranks on rank 0, nothing on the others."""
    specs = {name: tensor_spec(tensor, name) for name, tensor in snapshot.tensors.items()}
    names = sorted(specs, key=lambda name: -DTYPES[specs[name].dtype].itemsize)  # so that each of them is aligned
    content = b"".join(tensor_bytes(snapshot.tensors[name]) for name in names)
    listed: list[JSON] = [[name, specs[name].dtype, list(specs[name].shape)] for name in names]
    ours: JSON = {"tree": snapshot.tree, "tensors": listed, "bytes": len(content)}
    headers = [json.loads(header) for header in group.all_gather_bytes(encode_canonical(ours))]
    contents = _gather_contents(group, content, max(header["bytes"] for header in headers))
    return [_cut_content(header, content) for header, content in zip(headers, contents, strict=bool(contents))]


def _raise_on_all(group: Group, failure: Exception | None) -> None:
    sentence = "" if failure is None else f"Rank {group.rank}, `per_rank`: {failure}"
    for said in group.all_gather_bytes(sentence.encode()):
        if said:
            raise CheckpointError(said.decode(), "ranks") from failure


def _gather_contents(group: Group, ours: bytes, longest: int) -> list[bytearray]:
    contents = [bytearray() for _ in range(group.size if group.rank == 0 else 0)]
    for start in range(0, longest, _CHUNK):
        pieces = group.all_gather_bytes(ours[start : start + _CHUNK])
        for content, piece in zip(contents, pieces, strict=bool(contents)):
            content += piece
    return contents


def _cut_content(header: Mapping[str, Any], content: bytearray) -> Snapshot:
    tensors, start = {}, 0
    for name, dtype, shape in header["tensors"]:
        spec = TensorSpec(dtype, tuple(shape))
        tensors[name] = allocate_tensor(spec)
        tensor_bytes(tensors[name])[:] = content[start : start + spec.nbytes]
        start += spec.nbytes
    return Snapshot(tensors, header["tree"])


def _to_values(snapshot: Snapshot) -> dict[str, Any]:
    """Name -> value, without the global generators, which belong to the state of all."""
    tree = snapshot.tree if isinstance(snapshot.tree, dict) else {}
    branches: list[JSON] = [[name, branch] for name, branch in tree.items() if name != RNG]
    values: dict[str, Any] = Decoder(snapshot.tensors).decode({"$": "dict", "items": branches})
    return values


def _to_snapshot(values: Mapping[str, Any]) -> Snapshot:
    encoder = Encoder()
    tree = {name: encoder.encode(value, name) for name, value in values.items()}
    generators = capture_state({}, copy=False)
    assert isinstance(generators.tree, dict)
    return Snapshot({**encoder.tensors, **generators.tensors}, {**tree, **generators.tree})
