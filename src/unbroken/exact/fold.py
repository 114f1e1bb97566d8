"""Sums over virtual shards in one canonical order: a binary tree over the shards 0 … V-1.

Floating-point addition does not associate, so the grouping is part of the result. The tree is a function of V alone:
[0, V) is split after the largest power of two below V, and so on down to single shards. Which process computes which
subtree does not matter, because processes exchange bytes and the additions stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from unbroken.errors import UnbrokenError
from unbroken.exact.group import SOLO, Group

Leaf = Callable[[int], list[Tensor]]
Node = tuple[int, int]
"""The subtree over the shards [first, end)."""


def owned_shards(rank: int, size: int, shards: int) -> range:
    """The virtual shards of one of `size` processes: contiguous, and as even as possible."""
    return range(rank * shards // size, (rank + 1) * shards // size)


def fold(leaf: Leaf, shards: int, group: Group = SOLO) -> list[Tensor]:
    """Sum the leaves' tensors over the canonical tree: the same bytes on every process, for any number of them.

    A process holds at most log2(V) + 1 partial sums while it makes its leaves. It then sends each of its maximal
    subtrees in slices, one to each process, which completes the sum of that slice for all. Where the number of
    processes and V are powers of two, it sends as many bytes as a ring all-reduce.

    Args:
        leaf: Shard number → its tensors; called once per owned shard, in ascending order. The tensors are
            overwritten. Every shard gives the same number, shapes and types.
        shards: V, at least 1.
        group: The processes; each calls this function with the same `shards`.

    Raises:
        UnbrokenError: There are more processes than shards.
        PeerError: A process was lost.
    """
    if group.size > shards:
        raise UnbrokenError(
            f"{group.size} processes cannot share {shards} virtual shards: each needs one at least. "
            f"Next: start {shards} processes or fewer, or raise the number of shards (which changes the results)."
        )
    return fold_split(leaf, [owned_shards(rank, group.size, shards) for rank in range(group.size)], group)


def fold_split(leaf: Leaf, split: Sequence[range], group: Group = SOLO) -> list[Tensor]:
    """`fold` with the shards of every process given: consecutive ranges, none of them empty."""
    shards = split[-1].stop
    nodes = [list(maximal_subtrees((0, shards), part)) for part in split]
    sums = [_fold_subtree(leaf, node) for node in nodes[group.rank]]
    if group.size == 1:
        return sums[0]
    return _Exchange(sums, nodes, group).exchange()


def maximal_subtrees(node: Node, part: range) -> Iterator[Node]:
    """The largest subtrees that lie in a range of shards, from left to right."""
    first, end = node
    if part.start <= first and end <= part.stop:
        yield node
    elif first < part.stop and part.start < end:
        middle = _middle(node)
        yield from maximal_subtrees((first, middle), part)
        yield from maximal_subtrees((middle, end), part)


def _middle(node: Node) -> int:
    first, end = node
    return first + (1 << (end - first - 1).bit_length() - 1)


def _fold_subtree(leaf: Leaf, node: Node) -> list[Tensor]:
    first, end = node
    if end - first == 1:
        return leaf(first)
    middle = _middle(node)
    left = _fold_subtree(leaf, (first, middle))
    return [a.add_(b) for a, b in zip(left, _fold_subtree(leaf, (middle, end)), strict=True)]


def _sum_subtree(known: Mapping[Node, Tensor], node: Node) -> Tensor:
    if node in known:
        return known[node]
    middle = _middle(node)
    return _sum_subtree(known, (node[0], middle)).add_(_sum_subtree(known, (middle, node[1])))


class _Exchange:
    """Partial sums of subtrees → the whole sum, one buffer for each type of tensor."""

    def __init__(self, sums: list[list[Tensor]], nodes: Sequence[Sequence[Node]], group: Group) -> None:
        self._sums, self._nodes, self._group = sums, nodes, group

    def exchange(self) -> list[Tensor]:
        """The tensors, as views into the buffers."""
        result = list(self._sums[0])
        kinds = dict.fromkeys((tensor.dtype, tensor.device) for tensor in result)
        for kind in kinds:
            places = [index for index, tensor in enumerate(result) if (tensor.dtype, tensor.device) == kind]
            flat = self._sum_flat([[part[index] for index in places] for part in self._sums])
            sizes = [result[index].numel() for index in places]
            for index, values in zip(places, flat.split([*sizes, len(flat) - sum(sizes)]), strict=False):
                result[index] = values.view(result[index].shape)
        return result

    def _sum_flat(self, parts: list[list[Tensor]]) -> Tensor:
        flat = [_cut_slices(part, self._group.size) for part in parts]
        # One subtree is the usual case, and needs no second copy.
        slices = flat[0].unsqueeze(1) if len(flat) == 1 else torch.stack(flat, dim=1)
        width = slices.shape[2] * slices.element_size()
        take = [len(nodes) * width for nodes in self._nodes]
        pieces = slices.view(-1).view(torch.uint8)
        received = self._group.all_to_all(pieces, [len(parts) * width] * self._group.size, take).view(slices.dtype)
        all_nodes = [node for nodes in self._nodes for node in nodes]
        known = dict(zip(all_nodes, received.view(len(all_nodes), -1), strict=True))
        whole = _sum_subtree(known, (0, all_nodes[-1][1]))
        return self._group.all_gather(whole.contiguous().view(torch.uint8)).view(slices.dtype)


def _cut_slices(tensors: list[Tensor], size: int) -> Tensor:
    count = sum(tensor.numel() for tensor in tensors)
    padding = tensors[0].new_zeros(-count % size)
    return torch.cat([*(tensor.reshape(-1) for tensor in tensors), padding]).view(size, -1)
