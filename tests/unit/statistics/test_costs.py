"""What an example costs, and what is better for no more."""

from __future__ import annotations

from itertools import permutations

from latentwire.statistics.cost_records import cost_record, find_dominators


def cells(**points: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Method = (bytes, value)."""
    return {name: {"bytes_per_example": cost, "value": value} for name, (cost, value) in points.items()}


def test_a_wire_of_many_bytes_is_dominated_by_what_is_cheaper_and_as_good() -> None:
    points = cells(wire=(3072, 0.7), text=(114, 0.75), probe=(1536, 0.7), majority=(0, 0.5))
    assert find_dominators(points, "wire") == ["text", "probe"]
    assert find_dominators(points, "probe") == ["text"]
    assert find_dominators(points, "text") == find_dominators(points, "majority") == []


def test_equal_points_dominate_neither_the_other() -> None:
    assert cost_record(cells(a=(8, 0.5), b=(8, 0.5)), "a")["dominated"] == {"a": [], "b": []}


def test_the_front_is_what_nothing_dominates_in_any_order() -> None:
    points = {"a": (1, 0.1), "b": (2, 0.3), "c": (2, 0.2), "d": (3, 0.3), "e": (4, 0.9)}
    for order in permutations(points):
        record = cost_record(cells(**{name: points[name] for name in order}), "b")
        assert {name for name, by in record["dominated"].items() if not by} == {"a", "b", "e"}
        assert record["cost_ratio"] == {"a": 0.5, "b": 1.0, "c": 1.0, "d": 1.5, "e": 2.0}


def test_nothing_is_a_multiple_of_what_is_free() -> None:
    assert cost_record(cells(wire=(8, 0.5), majority=(0, 0.5)), "majority")["cost_ratio"] == {
        "wire": None,
        "majority": None,
    }
