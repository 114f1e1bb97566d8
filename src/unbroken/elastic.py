"""Sums over virtual shards in one canonical order: a binary tree over the shards 0 … V-1."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def fold(leaf: Callable[[int], list[Tensor]], shards: int) -> list[Tensor]:
    """Sum the leaves' tensors over the canonical binary tree, holding at most log2(V) + 1 partial sums.

    Floating-point addition does not associate, so the grouping is part of the result. Neighbouring subtrees of
    equal size are added as soon as both exist (like carries of a binary counter); what is left over when V is
    no power of two is added from the right. Any process that owns an aligned subtree can compute it alone.

    Args:
        leaf: Shard number → its tensors; called once per shard, in ascending order. The tensors are overwritten.
        shards: V, at least 1.
    """
    partial: list[tuple[int, list[Tensor]]] = []
    for shard in range(shards):
        size, total = 1, leaf(shard)
        while partial and partial[-1][0] == size:
            size, total = 2 * size, _add(partial.pop()[1], total)
        partial.append((size, total))
    _, total = partial.pop()
    while partial:
        total = _add(partial.pop()[1], total)
    return total


def _add(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    return [a.add_(b) for a, b in zip(left, right, strict=True)]
