"""What stands beside a difference: equivalence, posterior, the checkpoints at hand, and counts of single runs."""

from __future__ import annotations

import math

from scipy import stats

from latentwire.statistics.bootstrap import Plan, crossed, percentiles
from latentwire.statistics.claims import NO_VARIANCE, tost
from latentwire.statistics.comparisons import Record, Settings
from latentwire.statistics.exact import SMALLEST_SIGN_TEST, discordant, mcnemar, newcombe_paired, sign_flip
from latentwire.statistics.scores import Scores, pair
from latentwire.statistics.signature import signature
from latentwire.statistics.twoway import Estimate, estimate


def details(a: Scores, b: Scores, settings: Settings) -> Record:
    """Records beside the difference A − B, by name; what does not apply is null."""
    found = estimate(pair(a, b))
    equal = tost(found, settings.margin, settings.alpha)
    return {
        "equivalence": vars(equal),
        "posterior": posterior(found, settings.margin),
        "checkpoint": _checkpoint(a, b, settings),
        "single": _single(a, b, settings.confidence),
        "improvement": improvement(a, b),
        "bootstrap": _bootstrap(a, b, settings),
    }


def posterior(difference: Estimate, margin: float) -> Record:
    """Probabilities that the true difference is below, inside and above ±margin, under a flat prior."""
    if difference.constant:
        return {"margin": margin, "worse": None, "equivalent": None, "better": None, "reason": NO_VARIANCE}
    below = float(stats.t.cdf((-margin - difference.mean) / difference.error, difference.df))
    above = float(stats.t.sf((margin - difference.mean) / difference.error, difference.df))
    return {"margin": margin, "worse": below, "equivalent": 1 - below - above, "better": above, "reason": None}


def improvement(a: Scores, b: Scores) -> float | None:
    """Probability that a run of A scores above a run of B, ties counting half; None for two single runs."""
    if len(a.values) == len(b.values) == 1:
        return None
    runs_a, runs_b = a.values.mean(axis=1)[:, None], b.values.mean(axis=1)[None]
    return float(((runs_a > runs_b) + 0.5 * (runs_a == runs_b)).mean())


def _checkpoint(a: Scores, b: Scores, settings: Settings) -> Record | None:
    """The difference between the checkpoints at hand, examples alone being random; null for two single runs."""
    if len(a.values) == len(b.values) == 1:
        return None
    means = a.values.mean(axis=0, keepdims=True) - b.values.mean(axis=0, keepdims=True)
    found = estimate(means)
    low, high = found.interval(settings.confidence) or (None, None)
    enough = found.examples >= SMALLEST_SIGN_TEST
    return {
        "low": low,
        "high": high,
        "p": sign_flip(means, settings.resamples, settings.seed) if enough else None,
        "estimand": "this checkpoint",
        "signature": signature(
            ci="examples", conf=settings.confidence, p="signflip", S=len(a.values), N=found.examples,
            R=settings.resamples, seed=settings.seed, ids=a.ids[:8],
        ),
    }  # fmt: skip


def _single(a: Scores, b: Scores, confidence: float) -> Record | None:
    """Counts of two single runs, mid-p and Newcombe's interval; null with several seeds."""
    if len(a.values) > 1 or len(b.values) > 1:
        return None
    only_a, only_b = discordant(a.values, b.values)
    both = int(((a.values == 1) & (b.values == 1)).sum())
    low, high = newcombe_paired(both, only_a, only_b, a.values.size - both - only_a - only_b, confidence)
    return {"only_a": only_a, "only_b": only_b, "p_mid": mcnemar(only_a, only_b, mid=True), "low": low, "high": high}


def _bootstrap(a: Scores, b: Scores, settings: Settings) -> Record:
    """Difference and ratio by the crossed bootstrap: the cross-check of the closed forms."""
    first, second = crossed([a, b], Plan(settings.resamples, settings.seed))
    low, high = percentiles(first - second, settings.confidence)
    ratio = percentiles(first / second, settings.confidence) if (second > 0).all() else None
    return {
        "low": low,
        "high": high,
        "ratio_low": ratio[0] if ratio else None,
        "ratio_high": ratio[1] if ratio else None,
        "signature": signature(
            ci="pigeonhole", conf=settings.confidence, S=len(a.values), N=len(a.examples), R=settings.resamples,
            seed=settings.seed, ids=a.ids[:8],
        ),
    }  # fmt: skip


def connor(p10: float, p01: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Connor's number of paired examples that finds a difference p10 − p01 of discordant shares."""
    total, apart = p10 + p01, p10 - p01
    z_alpha, z_power = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))
    root = z_alpha * math.sqrt(total) + z_power * math.sqrt(total - apart**2)
    return math.ceil(root**2 / apart**2)
