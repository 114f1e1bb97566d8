"""Parts that the tables share: a difference as it is printed, and what the notes under it say."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.reporting.facts import Facts, Record
from latentwire.reporting.labels import labels
from latentwire.reporting.numbers import MISSING, Tex, escape, interval, p_value, points


def difference(facts: Facts, key: str | None, family: str, decimals: int) -> Record:
    """Printed parts of a difference: the smallest detectable one stands wherever none was found."""
    if key is None:
        return {
            "delta": MISSING,
            "delta_interval": Tex("--"),
            "p": Tex("--"),
            "mde": MISSING,
            "dagger": False,
        }
    record = facts.comparison(key)
    adjusted = facts.adjusted(key, family)
    return {
        "delta": points(record["value"], decimals),
        "delta_interval": interval(record["low"], record["high"], decimals, sign=True),
        "p": p_value(adjusted["p_adjusted"]),
        "mde": points(record["mde"], decimals) if adjusted["verdict"] == "not different" else MISSING,
        "dagger": adjusted["verdict"] != "better" and record["retention"]["outcome"] == "non-inferior",
    }


def common(facts: Facts, family: str, keys: Sequence[str], tasks: Sequence[str] | None = None) -> Record:
    """What the notes under every table say; `tasks` are those that the table shows, None for all."""
    declared = facts.stats["families"][family]
    return {
        "m": declared["m"],
        "adjust": {"holm": "Holm", "bh": "BH"}[declared["adjust"]],
        "alpha": f"{declared['alpha']:g}",
        "confidence": f"{100 * facts.setting('confidence'):g}",
        "retained": f"{100 * facts.setting('retained'):g}",
        "reference": facts.name(facts.setting("reference")),
        "chance": facts.name(facts.setting("chance")),
        "constant": any(facts.comparison(key)["low"] is None for key in keys),
        "labels": labels(facts, tasks),
        "signatures": sorted({facts.adjusted(key, family)["signature"] for key in keys}),
    }


def verdict(found: str) -> Tex:
    """A verdict as a cell; what was found better is bold."""
    return {"better": Tex(r"\textbf{better}"), "worse": Tex("worse")}.get(found, escape(found))


def unique(keys: Sequence[str]) -> tuple[str, ...]:
    """Every id once, in the order of first mention."""
    return tuple(dict.fromkeys(keys))
