"""Our crossed bootstrap against scipy.stats.bootstrap: CPU seconds of one thread, alternating, as ratios.

Run by `make bench-stats`, or by hand: `OPENBLAS_NUM_THREADS=1 python benchmarks/bench_stats.py`. About three minutes.
Peers: scipy in its default form (all resamples at once: 6 GB here) and with `batch=100`, both with `paired=True` over
the runs. Nothing in scipy resamples seeds as well; what it costs with the seeds averaged beforehand is shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import stats

from latentwire.statistics.bootstrap import BootstrapPlan, percentile_interval, resample_crossed
from latentwire.statistics.scores import Matrix, Scores

RESAMPLES, EXAMPLES, SEEDS = 10_000, 10_000, 5
COLUMNS = 24
LIMIT_MB = 200
PLAN = BootstrapPlan(RESAMPLES, 12345)


@cache
def binary_pair() -> tuple[Scores, Scores]:
    """A method with five seeds and a deterministic one, right or wrong on the same examples."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=EXAMPLES)
    a = (rng.normal(size=(SEEDS, EXAMPLES)) + 0.8 > difficulty).astype(float)
    b = (rng.normal(size=(1, EXAMPLES)) + 0.6 > difficulty).astype(float)
    names = tuple(map(str, range(EXAMPLES)))
    return Scores("a", a, names, tuple(range(SEEDS))), Scores("b", b, names, None)


@cache
def real_columns() -> list[Scores]:
    """Eight methods × three seeds of scores that are not binary, such as log-losses."""
    rng = np.random.default_rng(1)
    names = tuple(map(str, range(EXAMPLES)))
    return [Scores(str(i), rng.exponential(size=(3, EXAMPLES)), names, (0, 1, 2)) for i in range(COLUMNS // 3)]


def ours_paired() -> tuple[float, float]:
    a, b = binary_pair()
    first, second = resample_crossed([a, b], PLAN)
    return percentile_interval(first - second, 0.95)


def scipy_paired(batch: int | None) -> tuple[float, float]:
    """All six runs resampled together by example, as `paired=True` does it; scipy has no weights for seeds."""
    a, b = binary_pair()
    return _scipy((*a.values, b.values[0]), _difference, batch)


def scipy_averaged(batch: int | None) -> tuple[float, float]:
    """The seeds averaged by hand beforehand, which leaves nothing of them to be resampled."""
    a, b = binary_pair()
    return _scipy((a.values.mean(axis=0) - b.values[0],), np.mean, batch)


def _difference(*runs: Matrix, axis: int) -> Matrix:
    means = [run.mean(axis=axis) for run in runs]
    return np.asarray(sum(means[:-1]) / (len(means) - 1) - means[-1])


def ours_columns() -> list[tuple[float, float]]:
    return [percentile_interval(draws, 0.95) for draws in resample_crossed(real_columns(), PLAN)]


def scipy_columns() -> list[tuple[float, float]]:
    return [_scipy((row,), np.mean, 100) for method in real_columns() for row in method.values]


def _scipy(data: tuple[Matrix, ...], statistic: Callable[..., Matrix], batch: int | None) -> tuple[float, float]:
    found = stats.bootstrap(
        data, statistic, n_resamples=RESAMPLES, batch=batch, paired=len(data) > 1, vectorized=True,
        method="percentile", rng=np.random.default_rng(2),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


CASES: dict[str, Callable[[], object]] = {
    "ours, paired": ours_paired,
    "scipy default, paired": lambda: scipy_paired(None),
    "scipy batch=100, paired": lambda: scipy_paired(100),
    "scipy default, seeds averaged": lambda: scipy_averaged(None),
    "scipy batch=100, seeds averaged": lambda: scipy_averaged(100),
    "ours, 24 columns": ours_columns,
    "scipy batch=100, 24 columns": scipy_columns,
}
TARGETS: tuple[tuple[str, str, float | None], ...] = (
    ("scipy default, paired", "ours, paired", 100.0),
    ("scipy batch=100, paired", "ours, paired", 20.0),
    ("scipy default, seeds averaged", "ours, paired", None),
    ("scipy batch=100, seeds averaged", "ours, paired", None),
    ("scipy batch=100, 24 columns", "ours, 24 columns", 5.0),
)


def seconds(case: str) -> float:
    """CPU seconds of one call; the data are made before."""
    binary_pair(), real_columns()
    start = time.process_time()
    CASES[case]()
    return time.process_time() - start


def megabytes(case: str) -> float:
    """Peak memory of one call above the data, as numpy and Python allocate it."""
    binary_pair(), real_columns()
    tracemalloc.start()
    CASES[case]()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of every case, one after the other in each round, so that a busy machine disturbs all of them."""
    found: dict[str, list[float]] = {case: [] for case in CASES}
    for case in CASES:
        if case.startswith("ours"):
            seconds(case)  # warm: imports and allocator
    for _ in range(rounds):
        for case, times in found.items():
            # Ours are short: the mean of several calls of the clock's resolution and more.
            calls = 10 if case == "ours, paired" else 1
            times.append(sum(seconds(case) for _ in range(calls)) / calls)
    return found


def main() -> int:
    """Print ratios with their spread; exit 1 where one is below its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times = measure(options.rounds)
    print(
        f"{RESAMPLES} resamples, {EXAMPLES} examples, {SEEDS} seeds; CPU seconds, {options.rounds} rounds, alternating"
    )
    for case, values in times.items():
        print(f"  {case:32} {statistics.median(values):8.3f} s  [{min(values):.3f}, {max(values):.3f}]")
    failed = 0
    for slow, fast, target in TARGETS:
        ratios = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
        median = statistics.median(ratios)
        failed += target is not None and median < target
        wanted = "no target: another question" if target is None else f"target {target:g} ×"
        print(f"{slow} / {fast}: {median:.1f} × [{min(ratios):.1f}, {max(ratios):.1f}], {wanted}")
    for case in ("ours, paired", "ours, 24 columns"):
        peak = megabytes(case)
        failed += peak >= LIMIT_MB
        print(f"{case}: {peak:.0f} MB above the data, limit {LIMIT_MB} MB")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
