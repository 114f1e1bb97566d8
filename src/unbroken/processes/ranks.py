"""What a run has to know of its ranks: what they share, what each has of its own, and what cannot be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch.nn.parallel import DistributedDataParallel

from unbroken.canonical_json import JSON
from unbroken.checkpoint.state import Holder, Snapshot, capture_state
from unbroken.checkpoint.traits import LiveState
from unbroken.errors import ArgumentError
from unbroken.exact.group import Group
from unbroken.processes.ddp import check_sum_order, find_ddp_modules
from unbroken.processes.per_rank import PER_RANK_STATE, RankStates
from unbroken.processes.sharded import check_not_sharded
from unbroken.processes.sync import check_same_state


class Ranks:
    """The processes of a run and their states. Every method is called by all of them."""

    def __init__(self, group: Group, state: LiveState, per_rank: Mapping[str, Holder] | None) -> None:
        """Put the states that differ into that of the run.

        Raises:
            ArgumentError: The state has a part of that name already.
        """
        self._group, self._state = group, state
        self._modules: list[DistributedDataParallel] = []
        self._states = None if per_rank is None else RankStates(per_rank, group)
        if PER_RANK_STATE in state:
            raise ArgumentError(
                f"state may not be called {PER_RANK_STATE!r}: that is where Run(per_rank=…) is kept. Next: give it "
                "another name."
            )
        if self._states:
            state[PER_RANK_STATE] = self._states

    def describe_own(self) -> str:
        """Which states each rank has of its own."""
        names = sorted(self.own)
        return f"`per_rank` of {', '.join(names)}" if names else "nothing in `per_rank`"

    def begin(self) -> None:
        """Refuse what cannot be resumed, before the folder is touched.

        Raises:
            CheckpointError: A part of the state is sharded, or cannot be stored.
            UnbrokenError: The sums of a DistributedDataParallel would not be repeated.
        """
        if self._group.size > 1:
            check_not_sharded(self._state)
            self._modules = find_ddp_modules(self._state.values())
            check_sum_order(self._modules)
        self.gather()

    @property
    def own(self) -> Mapping[str, Holder]:
        """What this rank has of its own."""
        return self._states.holders if self._states else {}

    @property
    def differ(self) -> bool:
        """Is there anything that each has of its own?"""
        return self._states is not None

    def gather(self, ended: bool = False) -> None:
        """Bring the states that differ to rank 0, before every save.

        Raises:
            CheckpointError: One of them cannot be stored.
        """
        if self._states:
            self._states.gather(ended)

    def read_facts(self) -> dict[str, JSON]:
        """What the bits depend on: the number of ranks, where torch's DistributedDataParallel makes the sums."""
        return {"ranks": self._group.size} if self._modules else {}

    def put_back(self) -> None:
        """Give each rank its own state of a checkpoint, once all have what is the same.

        Raises:
            CheckpointError: It does not fit.
        """
        if self._states:
            self._states.put_back()

    def check_agreement(self, step: int) -> None:
        """Make sure that what is not declared to differ is the same on all ranks.

        Raises:
            UnbrokenError: It is not; the first difference is named.
        """
        if self._group.size > 1:
            check_same_state(self._group, step, self._shared_part(capture_state(self._state, copy=False)))

    def _shared_part(self, snapshot: Snapshot) -> Snapshot:
        apart = {_place(tensor) for tensor in self._tensors_apart()}
        tensors = {name: tensor for name, tensor in snapshot.tensors.items() if _place(tensor) not in apart}
        tree = snapshot.tree if isinstance(snapshot.tree, dict) else {}
        mine = f"{PER_RANK_STATE}/"
        return Snapshot(
            {name: tensor for name, tensor in tensors.items() if not name.startswith(mine)},
            {part: branch for part, branch in tree.items() if part != PER_RANK_STATE},
        )

    def _tensors_apart(self) -> Iterator[torch.Tensor]:
        if self._states:
            yield from capture_state(self._states.holders, copy=False).tensors.values()
        for ddp in self._modules:
            if ddp.broadcast_buffers:  # every forward pass begins with those of rank 0
                yield from ddp.modules_buffers


def _place(tensor: torch.Tensor) -> tuple[str, int, int]:
    """Where a tensor lies; empty ones, which hold nothing to compare, lie in one place."""
    return str(tensor.device), tensor.data_ptr(), tensor.numel() * tensor.element_size()
