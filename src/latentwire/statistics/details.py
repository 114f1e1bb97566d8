"""What goes with a difference: equivalence, posterior, the checkpoints at hand, and counts of single runs."""

from __future__ import annotations

from scipy import stats

from latentwire.statistics.bootstrap import BootstrapPlan, percentile_interval, resample_crossed
from latentwire.statistics.claims import NO_VARIANCE, decide_equivalence
from latentwire.statistics.comparisons import Settings, StatsRecord
from latentwire.statistics.exact import (
    SMALLEST_SIGN_TEST,
    count_discordant,
    mcnemar_p,
    paired_newcombe_interval,
    sign_flip_p,
)
from latentwire.statistics.scores import Scores, pair_scores
from latentwire.statistics.signature import format_signature
from latentwire.statistics.twoway import Estimate, estimate_mean


def comparison_details(a: Scores, b: Scores, settings: Settings) -> StatsRecord:
    """What goes with the difference A − B, by name; what does not apply is None."""
    difference = estimate_mean(pair_scores(a, b))
    equal = decide_equivalence(difference, settings.margin, settings.alpha)
    return {
        "equivalence": vars(equal),
        "posterior": posterior_probabilities(difference, settings.margin),
        "checkpoint": _checkpoint(a, b, settings),
        "single": _single(a, b, settings.confidence),
        "improvement": improvement_probability(a, b),
        "bootstrap": _bootstrap(a, b, settings),
    }


def posterior_probabilities(difference: Estimate, margin: float) -> StatsRecord:
    """Probabilities that the true difference is below, inside and above ±margin, under a flat prior."""
    if difference.constant:
        return {"margin": margin, "worse": None, "equivalent": None, "better": None, "reason": NO_VARIANCE}
    below = float(stats.t.cdf((-margin - difference.mean) / difference.error, difference.df))
    above = float(stats.t.sf((margin - difference.mean) / difference.error, difference.df))
    return {"margin": margin, "worse": below, "equivalent": 1 - below - above, "better": above, "reason": None}


def improvement_probability(a: Scores, b: Scores) -> float | None:
    """Probability that a run of A scores above a run of B, ties counting half; None for two single runs."""
    if len(a.values) == len(b.values) == 1:
        return None
    runs_a, runs_b = a.values.mean(axis=1)[:, None], b.values.mean(axis=1)[None]
    return float(((runs_a > runs_b) + 0.5 * (runs_a == runs_b)).mean())


def _checkpoint(a: Scores, b: Scores, settings: Settings) -> StatsRecord | None:
    """The difference between the checkpoints at hand, with only the examples random.

    None for two single runs, and for a metric that is no mean over examples, whose draws have the seeds in them.
    """
    if len(a.values) == len(b.values) == 1 or a.resampled is not None:
        return None
    means = a.values.mean(axis=0, keepdims=True) - b.values.mean(axis=0, keepdims=True)
    difference = estimate_mean(means)
    low, high = difference.interval(settings.confidence) or (None, None)
    enough = difference.examples >= SMALLEST_SIGN_TEST
    return {
        "low": low,
        "high": high,
        "p": sign_flip_p(means, settings.resamples, settings.seed) if enough else None,
        "estimand": "this checkpoint",
        "signature": format_signature(
            ci="examples", conf=settings.confidence, p="signflip", S=len(a.values), N=difference.examples,
            R=settings.resamples, seed=settings.seed, ids=a.ids[:8],
        ),
    }  # fmt: skip


def _single(a: Scores, b: Scores, confidence: float) -> StatsRecord | None:
    """Counts of two single runs, mid-p and Newcombe's interval; None with several seeds or another metric."""
    if len(a.values) > 1 or len(b.values) > 1 or a.resampled is not None:
        return None
    only_a, only_b = count_discordant(a.values, b.values)
    both = int(((a.values == 1) & (b.values == 1)).sum())
    low, high = paired_newcombe_interval(both, only_a, only_b, a.values.size - both - only_a - only_b, confidence)
    return {"only_a": only_a, "only_b": only_b, "p_mid": mcnemar_p(only_a, only_b, mid=True), "low": low, "high": high}


def _bootstrap(a: Scores, b: Scores, settings: Settings) -> StatsRecord:
    """Difference and ratio by the crossed bootstrap: the cross-check of the closed forms."""
    first, second = resample_crossed([a, b], BootstrapPlan(settings.resamples, settings.seed))
    low, high = percentile_interval(first - second, settings.confidence)
    ratio = percentile_interval(first / second, settings.confidence) if (second > 0).all() else None
    return {
        "low": low,
        "high": high,
        "ratio_low": ratio[0] if ratio else None,
        "ratio_high": ratio[1] if ratio else None,
        "signature": format_signature(
            ci="pigeonhole", conf=settings.confidence, S=len(a.values), N=len(a.examples), R=settings.resamples,
            seed=settings.seed, ids=a.ids[:8],
        ),
    }  # fmt: skip
