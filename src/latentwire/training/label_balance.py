"""In which order examples are drawn where rare labels are to be drawn more often than they occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction


def balance_draws(pool: Sequence[int], labels: Mapping[int, int], count: int, balance: float) -> list[int]:
    """Positions of `count` draws from `pool`, each label spread evenly over all of them.

    Of n examples with a label among N, and C labels, that label has the share (1 - balance)·n/N + balance/C of the
    draws. Its examples are taken in the order of the pool, and again from the first where it has fewer than draws.

    Args:
        pool: Positions of the examples, each once.
        labels: Position → label.
        count: Number of draws.
        balance: 0, as often as the labels occur, to 1, all labels equally often.
    """
    members: dict[int, list[int]] = {}
    for position in pool:
        members.setdefault(labels[position], []).append(position)
    sizes = {label: len(members[label]) for label in sorted(members)}
    draws: list[tuple[float, int, int]] = []
    for label, own in _divide(sizes, count, Fraction(balance)).items():
        positions = members[label]
        draws += [((turn + 0.5) / own, label, positions[turn % len(positions)]) for turn in range(own)]
    return [position for _, _, position in sorted(draws)]


def _divide(sizes: Mapping[int, int], count: int, balance: Fraction) -> dict[int, int]:
    """Label → its number of draws; what rounding down leaves goes to the largest remainders, by label where equal.

    In exact fractions: a rounding error would decide about a draw differently on another machine.
    """
    total = sum(sizes.values())
    quotas = {n: count * ((1 - balance) * Fraction(size, total) + balance / len(sizes)) for n, size in sizes.items()}
    given = {label: int(quota) for label, quota in quotas.items()}
    remainders = sorted(quotas, key=lambda label: (given[label] - quotas[label], label))
    for label in remainders[: count - sum(given.values())]:
        given[label] += 1
    return given
