"""Do two runs of one procedure agree? The rule of `latentwire verify`, with its size and power.

Two runs on two machines have data, seeds and code in common. Their last bits differ, and training turns that into
other weights. The hypothesis is that both are draws of one procedure on these examples; a number contradicts what was
published where the difference d = here − published is larger than chance allows.

**Variance of d.** A number's variance is that of seeds, examples and their interaction (the two-way analysis that gave
its interval, `statistics/twoway.py`). Both runs score the same examples: what makes these hard or easy is in both and
cancels (paired by question: Miller, arXiv 2411.00640, section 4.2). What training adds does not cancel (Bouthillier et
al., arXiv 2103.03098). So the noise of one run is the part of seeds and interaction, max(MS seeds, MS residual) /
(S·N): the variance of the seeds' means over S, or more. How a seed on one machine depends on the same seed on another
is not known, from not at all to entirely: it is taken as not at all, which gives the largest variance, published noise
+ noise here. Both estimate the same under the hypothesis, so that t = d / √sum has 2 (S − 1) degrees of freedom, as
Student's.

- Nothing was trained: only rounding can differ, and how much is not known. Where the published answers are here, the
  examples that one run alone got right are counted: McNemar's exact test; and more than a fifth of other answers is a
  contradiction, however many are right. Where they are not here, the two runs count as independent, 2·V: the widest
  that can be.
- A number whose variance is not stored by its parts (calibration): the whole of it, with 2 (S − 1) degrees of freedom.
- All seeds alike in both runs: the variance over examples; where that is 0 too, p (1 − p) / N for each.
- One seed of a trained method: the noise of training was not estimated. Equal, or it cannot be judged.

**Spread.** A run whose seeds disagree wildly would agree with anything. So the noise here must not be larger than the
published: F = here / published with (S − 1, S − 1) degrees of freedom, one-sided.

**Size.** Holm over all of these tests: false contradictions in at most 5 % of verifications, however the numbers depend
on each other. Tested are those whose predictions are other bytes: on another kind of machine all, on the same one none.
Differences of methods and means over tasks are sums of them, agree where they do, and are not tested again. That seeds
are near to normal is assumed; a training that collapses in few of many seeds is none.

**Claims.** `better` against `worse`, `non-inferior` against `inferior`, `equivalent` against `different`, and another
best method, neither among the best of the other run: a contradiction. A claim that became undecided, or was decided
here alone, is listed and contradicts nothing.

**All else** (settings, data, models, counts, ids) has no uncertainty: it is equal, or a contradiction.

Simulated, 24 accuracies of 500 examples: false contradictions in 0 to 3 of 100 verifications, with 2, 3 and 5 seeds
that move the accuracy by 0 to 10 points. Found in 9 of 10, where seeds move it by 1 point: 16 points off with 3 seeds,
7 with 5; nothing trained: 10 points, or 5 with the published answers. `tests/unit/verification/test_agreement.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from latentwire.statistics.multiplicity import holm_adjust
from latentwire.verification.run_noise import Measured

FALSE_CONTRADICTIONS = 0.05
"""Share of verifications of an honest run that may find a contradiction among the numbers."""


@dataclass(frozen=True)
class Trial:
    """One test; `said` is what was found, as the beginning of a sentence."""

    p: float
    said: str


@dataclass(frozen=True)
class Disagreement:
    """Why a number contradicts the published one, or why that cannot be said."""

    said: str
    judged: bool


def judge_numbers(trials: Mapping[str, Trial]) -> dict[str, Disagreement]:
    """The numbers that contradict, by the names of their tests; the tests are all that one verification makes."""
    adjusted = holm_adjust([trial.p for trial in trials.values()])
    return {
        name: Disagreement(f"{trial.said}, p {p:.2g} (Holm over {len(trials)})", True)
        for (name, trial), p in zip(trials.items(), adjusted, strict=True)
        if p is not None and p < FALSE_CONTRADICTIONS
    }


def compare_values(published: Measured, here: Measured) -> Trial | Disagreement | None:
    """The test of one number: None where it is equal, a `Disagreement` where no test can be made."""
    if published.value == here.value:
        return None
    said = f"it is {here.value:.6g}, published {published.value:.6g}"
    if not math.isfinite(here.value):
        return Disagreement(said, judged=math.isfinite(published.value))
    unknown = published.unknown or here.unknown
    variance, degrees = (0.0, 0.0) if unknown else _variance_of_difference(published, here)
    if variance == 0.0:
        return Disagreement(f"{said}, and {unknown or 'no seed differs from another in either run'}", judged=False)
    t = abs(here.value - published.value) / math.sqrt(variance)
    return Trial(float(2 * stats.t.sf(t, degrees)), f"{said}: {t:.1f} standard errors off")


def compare_spreads(published: Measured, here: Measured) -> Trial | None:
    """Whether the seeds differ more here than in the published run; None where no seeds can tell."""
    if not (published.by_seeds and here.by_seeds and published.noise and here.noise):
        return None
    ratio = here.noise / published.noise
    p = float(stats.f.sf(ratio, here.seeds - 1, published.seeds - 1))
    return Trial(p, f"its seeds spread {math.sqrt(ratio):.1f} times as far as the published ones")


def _variance_of_difference(published: Measured, here: Measured) -> tuple[float, float]:
    """Variance of here − published and its degrees of freedom; 0 where there is nothing to estimate it from."""
    noise = (published.noise or 0.0) + (here.noise or 0.0)
    if noise:
        return noise, published.degrees + here.degrees
    if not published.examples or not here.examples:
        return 0.0, 0.0
    rate = (published.value + here.value) / 2
    whole = published.whole + here.whole or rate * (1 - rate) * (1 / published.examples + 1 / here.examples)
    return max(whole, 0.0), published.examples + here.examples - 2
