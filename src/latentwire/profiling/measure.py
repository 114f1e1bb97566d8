"""Time and memory of the paths, alternating between them so that a busy machine is unfair to none."""

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
def measure_inference_paths(paths: Sequence[InferencePath], repeats: int, advance: Advance) -> list[dict[str, Any]]:
    """A record per path: milliseconds of an example by part and in all, positions, bytes, and peak memory on a GPU."""
    times: list[Times] = [{name: [] for name in path.parts} for path in paths]
    peaks = [0 for _ in paths]
    for repeat in range(repeats):
        for number, path in enumerate(paths):
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            for i in range(WARM_UP if repeat == 0 else 0):
                _time_once(path, i % path.examples)
            for i in range(path.examples):
                for name, seconds in _time_once(path, i).items():
                    times[number][name].append(seconds)
                advance(1)
            if torch.cuda.is_available():
                peaks[number] = max(peaks[number], torch.cuda.max_memory_allocated())
    return [_record(*measured) for measured in zip(paths, times, peaks, strict=True)]


def _time_once(path: InferencePath, example: int) -> Mapping[str, float]:
    return {name: _time_part(part, example) for name, part in path.parts.items()}


def _time_part(part: Part, example: int) -> float:
    _synchronize_device()
    start = time.perf_counter()
    part(example)
    _synchronize_device()
    return time.perf_counter() - start


def _synchronize_device() -> None:
    """Wait for the GPU, which works on after a call has returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _record(path: InferencePath, times: Times, peak: int) -> dict[str, Any]:
    total = [sum(parts) for parts in zip(*times.values(), strict=True)]
    return {
        "task": path.task,
        "method": path.method,
        "receiver": path.receiver,
        "milliseconds": {name: quartiles_in_ms(seconds) for name, seconds in {**times, "total": total}.items()},
        "positions": path.positions,
        "bytes_per_example": path.bytes_per_example,
        "peak_gpu_bytes": peak or None,
    }


def quartiles_in_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median and the middle half, in milliseconds; at least two values."""
    low, median, high = (1000 * cut for cut in statistics.quantiles(seconds, n=4, method="inclusive"))
    return {"low": low, "median": median, "high": high}


def peak_process_bytes() -> int:
    """Most main memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
