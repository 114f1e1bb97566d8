"""Time and memory of the ways, alternating between them so that a busy machine is unfair to none."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from latentwire.profiling.inference_paths import InferencePath, Part

WARM_UP = 2
"""Examples that are done first and not counted."""
Advance = Callable[[int], None]
Times = dict[str, list[float]]


@torch.no_grad()
def measure_inference_paths(ways: Sequence[InferencePath], repeats: int, advance: Advance) -> list[dict[str, Any]]:
    """A record per way: milliseconds of an example by part and in all, positions, bytes, and peak memory on a GPU."""
    times: list[Times] = [{name: [] for name in way.parts} for way in ways]
    peaks = [0 for _ in ways]
    for repeat in range(repeats):
        for number, way in enumerate(ways):
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            for i in range(WARM_UP if repeat == 0 else 0):
                _once(way, i % way.examples)
            for i in range(way.examples):
                for name, seconds in _once(way, i).items():
                    times[number][name].append(seconds)
                advance(1)
            if torch.cuda.is_available():
                peaks[number] = max(peaks[number], torch.cuda.max_memory_allocated())
    return [_record(*found) for found in zip(ways, times, peaks, strict=True)]


def _once(way: InferencePath, example: int) -> Mapping[str, float]:
    return {name: _seconds(part, example) for name, part in way.parts.items()}


def _seconds(part: Part, example: int) -> float:
    _settle()
    start = time.perf_counter()
    part(example)
    _settle()
    return time.perf_counter() - start


def _settle() -> None:
    """Wait for the GPU, which works on after a call has returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _record(way: InferencePath, times: Times, peak: int) -> dict[str, Any]:
    together = [sum(parts) for parts in zip(*times.values(), strict=True)]
    return {
        "task": way.task,
        "method": way.method,
        "receiver": way.receiver,
        "milliseconds": {name: quartiles_in_ms(found) for name, found in {**times, "total": together}.items()},
        "positions": way.positions,
        "bytes_per_example": way.bytes_per_example,
        "peak_gpu_bytes": peak or None,
    }


def quartiles_in_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median and the middle half, in milliseconds; at least two values."""
    low, median, high = (1000 * cut for cut in statistics.quantiles(seconds, n=4, method="inclusive"))
    return {"low": low, "median": median, "high": high}


def peak_process_bytes() -> int:
    """Most main memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
