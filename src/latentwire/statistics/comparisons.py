"""One comparison of two methods on the same examples, as a plain record for `stats.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentwire.params.sections import Aggregate
from latentwire.statistics.claims import NO_VARIANCE, cohen_h, d_z, fieller, minimum_detectable, odds_ratio, retention
from latentwire.statistics.exact import discordant, mcnemar, proportion_interval
from latentwire.statistics.scores import Paired, Scores, pair
from latentwire.statistics.signature import signature
from latentwire.statistics.twoway import Estimate, estimate

Record = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is decided before results exist."""

    confidence: float
    """Coverage of the intervals; 1 − confidence is the level of the tests."""
    reference: str
    """Baseline that the differences of the main tables are taken from."""
    adjust: str
    """Correction within a family: holm or bh."""
    retained: float
    """Share of a mean that has to be kept for `non-inferior`."""
    margin: float = 0.02
    """Differences within ± this share count as none, for equivalence and the posterior."""
    resamples: int = 10_000
    """Draws of every bootstrap and sign-flip test."""
    seed: int = 12345
    """Of the generator of those draws."""

    @property
    def alpha(self) -> float:
        return round(1 - self.confidence, 12)


def settings_of(section: Aggregate) -> Settings:
    """The settings that the section `aggregate` of params.yaml declares."""
    return Settings(**section.model_dump())


def estimand(seeds: int) -> str:
    """What a number speaks of: with one seed the method's own variation cannot be estimated."""
    return "this method" if seeds > 1 else "this checkpoint"


def cell(scores: Scores, trained: bool, settings: Settings) -> Record:
    """Accuracy of one method on one task, with its interval."""
    rate = estimate(scores.values)
    low, high, kind = proportion_interval(rate, settings.confidence)
    return {
        "value": rate.mean,
        "low": low,
        "high": high,
        **design(rate),
        "per_seed": _per_seed(scores),
        "seed_variance": _seed_variance(rate, trained),
        "signature": signature(ci=kind, conf=settings.confidence, S=rate.seeds, N=rate.examples, ids=scores.ids[:8]),
    }


def compare(a: Scores, b: Scores, settings: Settings) -> Record:
    """Difference in accuracy A − B: unadjusted interval and p, detectable and standardised effects."""
    paired = pair(a, b)
    found = estimate(paired)
    interval = found.interval(settings.confidence)
    p, test = _p_value(a, b, paired, found)
    low, high = interval or (None, None)
    kept = retention(a, b, settings.retained, settings.alpha)
    ratio_low, ratio_high = fieller(a, b, settings.confidence) or (None, None)
    return {
        "value": found.mean,
        "low": low,
        "high": high,
        "p": p,
        "mde": minimum_detectable(found, settings.alpha),
        "reason": None if interval else NO_VARIANCE,
        **design(found),
        "effects": _effects(a, b),
        "retention": {**vars(kept), "low": ratio_low, "high": ratio_high},
        "signature": signature(
            ci="twoway", conf=settings.confidence, p=test, S=found.seeds, N=found.examples, ids=a.ids[:8]
        ),
    }


def verdict(record: Mapping[str, Any], adjusted: float | None, alpha: float) -> str:
    """`better`, `worse` or `not different`: a difference needs the adjusted p and an interval without 0."""
    if adjusted is None or adjusted >= alpha:
        return "not different"
    low, high = record["low"], record["high"]
    if low is not None and low <= 0 <= high:
        return "not different"
    return "better" if record["value"] > 0 else "worse"


def _p_value(a: Scores, b: Scores, paired: Paired, found: Estimate) -> tuple[float | None, str]:
    if len(a.values) == 1 and len(b.values) == 1:
        return mcnemar(*discordant(a.values, b.values)), "mcnemar"
    if found.constant:
        # Every seed repeats the same outcome on every example: what is left is a sign test over the examples.
        wins = found.examples if found.mean > 0 else 0
        losses = found.examples if found.mean < 0 else 0
        return mcnemar(wins, losses), "mcnemar"
    return found.p_value(), "t"


def design(found: Estimate) -> Record:
    """What a number was computed over: seeds, examples, variance and its shares, and what it speaks of."""
    return {
        "S": found.seeds,
        "N": found.examples,
        "df": None if found.constant else found.df,
        "variance": found.variance,
        "shares": found.shares,
        "estimand": estimand(found.seeds),
    }


def _per_seed(scores: Scores) -> dict[str, float]:
    names = [str(seed) for seed in scores.seeds] if scores.seeds is not None else ["none"]
    return dict(zip(names, map(float, scores.values.mean(axis=1)), strict=True))


def _seed_variance(rate: Estimate, trained: bool) -> str:
    if rate.seeds > 1:
        return "estimated"
    return "not estimated" if trained else "none: deterministic"


def _effects(a: Scores, b: Scores) -> Record:
    """Effect sizes by name; one that is not defined is null, with its reason under `undefined`."""
    rate_a, rate_b = float(a.values.mean()), float(b.values.mean())
    found = {"cohen_h": cohen_h(rate_a, rate_b), "d_z": d_z(a, b), "odds_ratio": odds_ratio(a, b)}
    several = len(a.values) > 1 or len(b.values) > 1
    reasons = {
        "d_z": NO_VARIANCE,
        "odds_ratio": "several seeds" if several else "no example was won by the second alone",
    }
    return {**found, "undefined": {name: reasons[name] for name, value in found.items() if value is None}}
