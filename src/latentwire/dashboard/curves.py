"""Points of a curve: few enough to be drawn, with every peak, and with a gap where nothing was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

Point = tuple[Any, float | None]
"""A step or a time, and a value; None where there is none."""


def thin_points(points: Sequence[Point], most: int) -> list[Point]:
    """At most about so many points: of each part the first, the last, and those of the lowest and the highest value."""
    if len(points) <= most:
        return list(points)
    parts = max(1, most // 4)
    bounds = [len(points) * part // parts for part in range(parts + 1)]
    places = [place for begin, end in pairwise(bounds) for place in _extremes(points, begin, end)]
    return [points[place] for place in places]


def _extremes(points: Sequence[Point], begin: int, end: int) -> list[int]:
    values = [(value, place) for place in range(begin, end) if (value := points[place][1]) is not None]
    return sorted({begin, end - 1, *((min(values)[1], max(values)[1]) if values else ())})


def join_segments(segments: Sequence[Sequence[Point]]) -> Iterator[Point]:
    """One curve with a gap between two segments: no line is drawn where nothing ran."""
    for place, segment in enumerate(segments):
        if place and segment:
            yield segment[0][0], None
        yield from segment


def finite(value: Any) -> float | None:
    """The value where it is a number that can be drawn."""
    return float(value) if value is not None and math.isfinite(value) else None
