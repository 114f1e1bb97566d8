from __future__ import annotations

import torch

from unbroken.elastic import fold


def leaves(count: int) -> list[torch.Tensor]:
    dice = torch.Generator().manual_seed(count)
    return [torch.randn(50, generator=dice) * 10**5 + torch.randn(50, generator=dice) for _ in range(count)]


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

    def leaf(shard: int) -> list[torch.Tensor]:
        seen.append(shard)
        return [torch.ones(2), torch.full((1,), float(shard))]

    ones, numbers = fold(leaf, 5)
    assert seen == [0, 1, 2, 3, 4]
    assert ones.tolist() == [5.0, 5.0]
    assert numbers.tolist() == [10.0]


def test_one_shard_is_itself() -> None:
    (total,) = fold(lambda shard: [torch.full((3,), 7.0)], 1)
    assert total.tolist() == [7.0] * 3
