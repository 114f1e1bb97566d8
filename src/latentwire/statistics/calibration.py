"""Expected calibration error: how far the confidence of answers is from the share of right answers.

The confidence of an answer is the largest share of the softmax over the log-likelihoods of the labels.
Shapes: S seeds, N examples, R resamples.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from latentwire.statistics.bootstrap import BootstrapPlan, resample_examples, resample_seeds
from latentwire.statistics.comparisons import StatsRecord, name_estimand
from latentwire.statistics.scores import Matrix, Scores
from latentwire.statistics.signature import format_signature
from latentwire.statistics.twoway import estimate_mean

BINS = 10
Bins = NDArray[np.int_]


def top_label_confidence(log_likelihoods: Matrix) -> Matrix:
    """Confidence [N] of the most likely label, of log-likelihoods [N, labels]."""
    return np.asarray(special.softmax(log_likelihoods, axis=1).max(axis=1))


def estimate_calibration(right: Scores, confidence: Scores, level: float, plan: BootstrapPlan) -> StatsRecord:
    """Mean over seeds of the error in ten equal bins, its interval of coverage `level`, and the bins.

    The standard error is that of the crossed bootstrap; the degrees of freedom are those of the error's linear part.
    With few examples the error is too high rather than too low: an error of 0 needs exact bins.
    """
    gaps, bins = confidence.values - right.values, _bins(confidence.values)
    masked = _by_bin(gaps, bins)
    by_run = abs(masked.mean(axis=1)).sum(axis=1)
    draws = _draws(masked, right.seeds, plan)
    signs = np.sign(masked.mean(axis=1))
    linear = estimate_mean(np.take_along_axis(signs, bins, axis=1) * gaps)
    half = float(stats.t.ppf(0.5 + level / 2, linear.df)) * float(draws.std(ddof=1))
    value = float(by_run.mean())
    return {
        "value": value,
        "low": max(value - half, 0.0),
        "high": min(value + half, 1.0),
        "S": linear.seeds,
        "N": linear.examples,
        "df": None if math.isinf(linear.df) else linear.df,
        "estimand": name_estimand(linear.seeds),
        "bins": _bin_records(right.values, confidence.values, bins),
        "signature": format_signature(
            ci="pigeonhole-t", conf=level, bins=BINS, S=linear.seeds, N=linear.examples, R=plan.resamples,
            seed=plan.seed, ids=right.ids[:8],
        ),
    }  # fmt: skip


def _bins(confidence: Matrix) -> Bins:
    """Number of the bin of each answer; a confidence of 1 is in the last."""
    return np.asarray(np.minimum((confidence * BINS).astype(int), BINS - 1))


def _by_bin(gaps: Matrix, bins: Bins) -> Matrix:
    """Gaps [S, N, bins], 0 outside the bin of an answer."""
    return np.asarray(gaps[:, :, None] * (bins[:, :, None] == np.arange(BINS)))


def _draws(masked: Matrix, seeds: tuple[int, ...] | None, plan: BootstrapPlan) -> Matrix:
    """Resampled errors [R]; examples are drawn once for all bins and seeds."""
    runs, examples, _ = masked.shape
    columns = masked.transpose(1, 0, 2).reshape(examples, runs * BINS)
    means = resample_examples(columns, plan).reshape(plan.resamples, runs, BINS)
    return resample_seeds(abs(means).sum(axis=2), seeds, plan)


def _bin_records(right: Matrix, confidence: Matrix, bins: Bins) -> list[StatsRecord]:
    """Bins that hold an answer, each with its share of all answers, mean confidence and share of right answers."""
    numbers = sorted(set(bins.ravel().tolist()))
    return [
        {
            "bin": number,
            "share": float(inside.mean()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number, inside in ((number, bins == number) for number in numbers)
    ]
