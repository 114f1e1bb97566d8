"""The sum over virtual shards has the same bytes for every number of processes and every way to divide the shards."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.shards import data, leaves, mixed_leaf
from tests.support.thread_group import run_on_threads
from unbroken.errors import UnbrokenError
from unbroken.exact.fold import fold, fold_split, owned_shards
from unbroken.exact.group import Group
from unbroken.exact.randomness import sample_ids

LIMIT = 16


def written_out(leaf: Callable[[int], list[Tensor]], first: int, end: int) -> list[Tensor]:
    """The sum as its definition says it, without the code under test."""
    if end - first == 1:
        return leaf(first)
    left = 2 ** (math.ceil(math.log2(end - first)) - 1)
    halves = written_out(leaf, first, first + left), written_out(leaf, first + left, end)
    return [a + b for a, b in zip(*halves, strict=True)]


def splits(shards: int) -> Iterator[list[range]]:
    """Every way to divide the shards into ranges."""
    for count in range(shards):
        for cuts in itertools.combinations(range(1, shards), count):
            yield [range(a, b) for a, b in itertools.pairwise([0, *cuts, shards])]


def check(split: list[range], expected: list[tuple[object, ...]]) -> None:
    for total in run_on_threads(len(split), lambda group: data(fold_split(mixed_leaf, split, group))):
        assert total == expected, split


@pytest.mark.parametrize("shards", range(1, LIMIT + 1))
def test_one_process_folds_as_the_definition_says(shards: int) -> None:
    assert data(fold(mixed_leaf, shards)) == data(written_out(mixed_leaf, 0, shards))


@pytest.mark.parametrize("shards", range(1, LIMIT + 1))
def test_any_number_of_processes_gives_the_bytes_of_one(shards: int) -> None:
    expected = data(written_out(mixed_leaf, 0, shards))
    for size in range(1, shards + 1):
        for total in run_on_threads(size, lambda group: data(fold(mixed_leaf, shards, group))):
            assert total == expected, size


@pytest.mark.parametrize("shards", range(1, 9))
def test_any_way_to_divide_up_to_eight_shards_gives_the_bytes_of_one(shards: int) -> None:
    expected = data(written_out(mixed_leaf, 0, shards))
    every = list(splits(shards))
    assert len(every) == 2 ** (shards - 1)
    for split in every:
        check(split, expected)


@given(st.integers(9, LIMIT).flatmap(lambda shards: st.tuples(st.just(shards), st.sets(st.integers(1, shards - 1)))))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_drawn_ways_to_divide_more_shards_give_the_bytes_of_one(case: tuple[int, set[int]]) -> None:
    shards, cuts = case
    split = [range(a, b) for a, b in itertools.pairwise([0, *sorted(cuts), shards])]
    check(split, data(written_out(mixed_leaf, 0, shards)))


def test_the_order_matters_for_these_leaves() -> None:
    """Negative control: other groupings of the same leaves have other bytes, so the tests above can fail."""
    straight = [torch.zeros_like(tensor) for tensor in mixed_leaf(0)]
    for shard in range(8):
        straight = [a + b for a, b in zip(straight, mixed_leaf(shard), strict=True)]
    assert data(straight) != data(fold(mixed_leaf, 8))


def local_sums(group: Group, shards: int) -> list[bytes]:
    """What a plain all-reduce does: each rank sums its own, then the sums are added."""
    mine = torch.stack([leaves(shards)[shard] for shard in owned_shards(group.rank, group.size, shards)])
    total = mine[0].clone()
    for one in mine[1:]:
        total += one
    parts = [
        torch.frombuffer(bytearray(raw), dtype=torch.float32) for raw in group.all_gather_bytes(total.numpy().tobytes())
    ]
    return [sum(parts[1:], parts[0]).numpy().tobytes()]


def test_negative_control_sums_of_each_rank_depend_on_the_number_of_ranks() -> None:
    plain = {size: run_on_threads(size, lambda group: local_sums(group, 8))[0][0] for size in (1, 2, 3, 4)}
    exact = {
        size: run_on_threads(size, lambda group: data(fold(lambda shard: [leaves(8)[shard]], 8, group)))[0]
        for size in (1, 2, 3, 4)
    }
    assert len(set(plain.values())) > 1
    assert all(total == exact[1] for total in exact.values())


@pytest.mark.parametrize(("size", "shards"), [(n, v) for v in (2, 4, 8, 16) for n in (2, 4, 8, 16) if n <= v])
def test_as_many_bytes_are_sent_as_by_a_ring_all_reduce(size: int, shards: int) -> None:
    count = 1000

    def action(group: Group) -> int:
        fold(lambda _: [torch.ones(count)], shards, group)
        return group.sent

    padded = math.ceil(count / size) * size * 4
    assert run_on_threads(size, action) == [2 * (size - 1) * padded // size] * size


class Watched:
    """Leaves whose tensors are counted for as long as they live."""

    def __init__(self) -> None:
        self.alive, self.most = 0, 0

    def leaf(self, shard: int) -> list[Tensor]:
        tensor = torch.full((4,), float(shard))
        weakref.finalize(tensor, self._gone)
        self.alive += 1
        self.most = max(self.most, self.alive)
        return [tensor]

    def _gone(self) -> None:
        self.alive -= 1


@pytest.mark.parametrize("shards", range(1, LIMIT + 1))
def test_no_more_partial_sums_live_than_the_tree_is_deep(shards: int) -> None:
    for size in range(1, shards + 1):
        most = run_on_threads(size, lambda group: _most_alive(shards, group))
        assert max(most) <= math.ceil(math.log2(shards)) + 1, size


def _most_alive(shards: int, group: Group) -> int:
    watched = Watched()
    fold(watched.leaf, shards, group)
    return watched.most


def test_the_tree_is_the_canonical_one() -> None:
    a, b, c, d = leaves(4)
    (total,) = fold(lambda shard: [leaves(4)[shard]], 4)
    assert torch.equal(total, (a + b) + (c + d))
    assert not torch.equal(total, ((a + b) + c) + d)


def test_a_count_that_is_no_power_of_two_folds_from_the_right() -> None:
    a, b, c, d, e, f, g = leaves(7)
    (total,) = fold(lambda shard: [leaves(7)[shard]], 7)
    assert torch.equal(total, ((a + b) + (c + d)) + ((e + f) + g))


def test_every_leaf_is_made_once_in_order() -> None:
    seen: list[int] = []

    def leaf(shard: int) -> list[Tensor]:
        seen.append(shard)
        return [torch.ones(2), torch.full((1,), float(shard))]

    ones, numbers = fold(leaf, 5)
    assert seen == [0, 1, 2, 3, 4]
    assert ones.tolist() == [5.0, 5.0]
    assert numbers.tolist() == [10.0]


def test_one_shard_is_itself() -> None:
    (total,) = fold(lambda _: [torch.full((3,), 7.0)], 1)
    assert total.tolist() == [7.0] * 3


def test_more_processes_than_shards_are_refused() -> None:
    with pytest.raises(UnbrokenError, match=r"3 processes cannot share 2 virtual shards.*Next: start 2 processes"):
        run_on_threads(3, lambda group: fold(mixed_leaf, 2, group))


@pytest.mark.parametrize("shards", [1, 5, 8, 16])
def test_every_shard_belongs_to_one_process_and_the_samples_come_in_one_order(shards: int) -> None:
    per_shard, samples, steps = 3, 50, 12
    history = itertools.cycle([size for size in (1, 2, 4, 3, 1, 5, 16) if size <= shards])
    seen: list[int] = []
    for step, size in zip(range(1, steps + 1), history, strict=False):
        ids = sample_ids(7, step, shards * per_shard, samples)
        mine = [
            [ids[shard * per_shard : (shard + 1) * per_shard] for shard in owned_shards(r, size, shards)]
            for r in range(size)
        ]
        assert all(mine), "a process without a shard"
        seen += [int(number) for parts in mine for part in parts for number in part]
    assert seen == [int(n) for step in range(1, steps + 1) for n in sample_ids(7, step, shards * per_shard, samples)]
    whole = len(seen) // samples * samples
    for epoch in range(0, whole, samples):
        assert sorted(seen[epoch : epoch + samples]) == list(range(samples))
