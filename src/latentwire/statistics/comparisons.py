"""One comparison of two methods on the same examples, as a plain record for `stats.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentwire.params.sections import Aggregate
from latentwire.statistics.claims import (
    NO_VARIANCE,
    cohen_h,
    d_z,
    decide_retention,
    fieller_interval,
    minimum_detectable,
    odds_ratio,
)
from latentwire.statistics.exact import count_discordant, mcnemar_p, proportion_interval
from latentwire.statistics.scores import Scores, pair_scores
from latentwire.statistics.signature import format_signature
from latentwire.statistics.twoway import Estimate, estimate_mean

StatsRecord = dict[str, Any]
NOT_DIFFERENT, NOT_CORRECTED = "not different", "not after correction"
EFFECTS = ("cohen_h", "d_z", "odds_ratio")
NO_PROPORTION = "the metric is no share of the examples"
UNDECIDED = (NOT_DIFFERENT, NOT_CORRECTED)
"""Verdicts that show no difference; by the second there is one for a reader who looks at this comparison alone."""


@dataclass(frozen=True)
class Settings:
    """Settings of the analysis, decided before results exist."""

    confidence: float
    """Coverage of the intervals; 1 − confidence is the level of the tests."""
    reference: str
    """The baseline that the main tables compare with."""
    adjust: str
    """Correction within a family: holm or bh."""
    retained: float
    """Share of a mean that has to be kept for `non-inferior`."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Task → metric by which it is judged; accuracy where none is named."""
    margin: float = 0.02
    """Differences within ± this share count as none, for equivalence and the posterior."""
    resamples: int = 10_000
    """Draws of every bootstrap and sign-flip test."""
    seed: int = 12345
    """Seed of the generator of those draws."""

    @property
    def alpha(self) -> float:
        return round(1 - self.confidence, 12)


def settings_from_section(section: Aggregate) -> Settings:
    """The settings that the section `aggregate` of params.yaml declares."""
    return Settings(**section.model_dump())


def name_estimand(seeds: int) -> str:
    """What a number is about: with one seed the method's own variation cannot be estimated."""
    return "this method" if seeds > 1 else "this checkpoint"


def cell_record(scores: Scores, trained: bool, settings: Settings) -> StatsRecord:
    """A metric of one method on one task, with its interval."""
    rate = estimate_mean(scores.paired)
    low, high = proportion_interval(rate, settings.confidence)
    return {
        "value": rate.mean,
        "low": low,
        "high": high,
        **design_record(rate),
        "per_seed": _per_seed(scores),
        "seed_variance": _seed_variance(rate, trained),
        "signature": format_signature(
            ci="wilson-pigeonhole" if scores.resampled else "wilson-twoway", conf=settings.confidence, S=rate.seeds,
            N=rate.examples, **_draws(scores, settings), ids=scores.ids[:8],
        ),
    }  # fmt: skip


def compare_methods(a: Scores, b: Scores, settings: Settings) -> StatsRecord:
    """Difference A − B by one metric: unadjusted interval and p, detectable and standardised effects."""
    difference = estimate_mean(pair_scores(a, b))
    interval = difference.interval(settings.confidence)
    p, test = _p_value(a, b, difference)
    low, high = interval or (None, None)
    kept = decide_retention(a, b, settings.retained, settings.alpha)
    ratio_low, ratio_high = fieller_interval(a, b, settings.confidence) or (None, None)
    return {
        "value": difference.mean,
        "low": low,
        "high": high,
        "p": p,
        "reason": None if interval else NO_VARIANCE,
        **design_record(difference),
        "effects": _effects(a, b),
        "retention": {**vars(kept), "low": ratio_low, "high": ratio_high},
        "signature": format_signature(
            ci="pigeonhole-t" if a.resampled else "twoway", conf=settings.confidence, p=test, S=difference.seeds,
            N=difference.examples, **_draws(a, settings), ids=a.ids[:8],
        ),
    }  # fmt: skip


def _draws(scores: Scores, settings: Settings) -> dict[str, int]:
    """For the signature of what was resampled."""
    return {"R": settings.resamples, "seed": settings.seed} if scores.resampled else {}


def comparison_verdict(record: Mapping[str, Any], adjusted: float | None, alpha: float) -> str:
    """`better` or `worse` where the adjusted p and the interval without 0 agree, otherwise one of `UNDECIDED`.

    The interval is not corrected: where it has no 0 and the adjusted p is too large, that is said.
    """
    low, high = record["low"], record["high"]
    apart = not low <= 0 <= high if low is not None else record["p"] is not None and record["p"] < alpha
    if apart and adjusted is not None and adjusted < alpha:
        return "better" if record["value"] > 0 else "worse"
    return NOT_CORRECTED if apart else NOT_DIFFERENT


def detectable_difference(record: Mapping[str, Any], level: float) -> float | None:
    """Smallest true difference that a test at this level finds with 80 % power; None where nothing varies."""
    if record["df"] is None:
        return None
    return minimum_detectable(math.sqrt(record["variance"]), record["df"], level)


def _p_value(a: Scores, b: Scores, difference: Estimate) -> tuple[float | None, str]:
    """Two-sided p of the difference, and the name of the test."""
    if a.resampled is not None:
        return difference.p_value(), "t"
    if len(a.values) == 1 and len(b.values) == 1:
        return mcnemar_p(*count_discordant(a.values, b.values)), "mcnemar"
    if difference.constant:
        # Every seed repeats the same outcome on every example: what is left is a sign test over the examples.
        wins = difference.examples if difference.mean > 0 else 0
        losses = difference.examples if difference.mean < 0 else 0
        return mcnemar_p(wins, losses), "mcnemar"
    return difference.p_value(), "t"


def design_record(mean: Estimate) -> StatsRecord:
    """What a number was computed over: seeds, examples, variance and its shares, and what it is about."""
    return {
        "S": mean.seeds,
        "N": mean.examples,
        "df": None if mean.constant else mean.df,
        "variance": mean.variance,
        "shares": mean.shares,
        "estimand": name_estimand(mean.seeds),
    }


def _per_seed(scores: Scores) -> dict[str, float]:
    names = [str(seed) for seed in scores.seeds] if scores.seeds is not None else ["none"]
    return dict(zip(names, map(float, scores.values.mean(axis=1)), strict=True))


def _seed_variance(rate: Estimate, trained: bool) -> str:
    if rate.seeds > 1:
        return "estimated"
    return "not estimated" if trained else "none: deterministic"


def _effects(a: Scores, b: Scores) -> StatsRecord:
    """Effect sizes by name; one that is not defined is None, with the reason under `undefined`."""
    if a.resampled is not None:
        return dict.fromkeys(EFFECTS) | {"undefined": dict.fromkeys(EFFECTS, NO_PROPORTION)}
    rate_a, rate_b = float(a.values.mean()), float(b.values.mean())
    effects = {"cohen_h": cohen_h(rate_a, rate_b), "d_z": d_z(a, b), "odds_ratio": odds_ratio(a, b)}
    several = len(a.values) > 1 or len(b.values) > 1
    reasons = {
        "d_z": NO_VARIANCE,
        "odds_ratio": "several seeds" if several else "no example was won by the second alone",
    }
    return {**effects, "undefined": {name: reasons[name] for name, value in effects.items() if value is None}}
