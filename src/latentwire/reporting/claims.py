"""Which sentences the statistics allow, and in which list each comparison belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latentwire.reporting.document import Emphasis, Piece, Strong, Text, compose_text, join_texts
from latentwire.reporting.number_format import (
    PERCENT,
    decimals_for,
    format_interval,
    format_p_clause,
    format_percent,
    format_points,
    format_signed,
)
from latentwire.reporting.report_data import OPEN_VERDICTS, Record, ReportData
from latentwire.reporting.shared_rows import ADJUSTMENTS

MOST_EFFECTS = 4
"""Differences up to which the abstract names all."""
OPEN_STATES = {"not different": " (no difference shown)", "not after correction": " (not after the correction)"}
UNCORRECTED = (
    "Intervals are not corrected: each of these leaves 0 out, but so would one in twenty if there were no differences."
)
OPEN = (
    "This is no evidence of equality; beside each stands the smallest true difference that the design would find with "
    f"80{PERCENT} power."
)


@dataclass(frozen=True)
class Claim:
    """A heading, and the comparisons that belong under it."""

    heading: str
    items: tuple[Text, ...]
    introduction: str = ""


def list_claims(data: ReportData, method: str) -> Iterator[Claim]:
    """The comparisons of a trained method with baselines, sorted into won, lost, open and lost to the correction."""
    records = baseline_records(data, method)
    won, lost, undecided, uncorrected = (
        [record for record in records if record["verdict"] == verdict]
        for verdict in ("better", "worse", *OPEN_VERDICTS)
    )
    yield Claim(
        f"Where {data.display_name(method)} wins ({len(won)} of {len(records)}).",
        _items(data, won, "{place}, against {baseline}: {difference}."),
    )
    yield Claim(
        f"Where a baseline wins ({len(lost)} of {len(records)}).",
        _items(data, lost, "{place}, {baseline} is better: {difference}."),
    )
    pattern = "{place}, against {baseline}: {difference}, detectable {detectable}."
    yield Claim(
        f"Where no difference was shown ({len(undecided)} of {len(records)}).", _items(data, undecided, pattern), OPEN
    )
    if uncorrected:
        adjustment = ADJUSTMENTS[data.get_setting("adjust")]
        yield Claim(
            f"Where a difference does not outlast {adjustment}'s correction ({len(uncorrected)} of {len(records)}).",
            _items(data, uncorrected, pattern),
            UNCORRECTED,
        )


def summarize_claims(data: ReportData, method: str) -> Text:
    """How far a trained method is from chance and from the baselines, with intervals, for the abstract."""
    chance, baselines = chance_records(data, method), baseline_records(data, method)
    reference = data.get_setting("reference")
    against = [record for record in baselines if record["b"] == reference]
    best = [_strongest(place) for place in _by_place(baselines) if _strongest(place)["b"] != reference]
    return (
        *_effects_sentence(data, method, data.display_name(data.get_setting("chance")), chance),
        *_effects_sentence(data, method, data.reference_name, against),
        *_strongest_sentence(data, best),
    )


def _effects_sentence(data: ReportData, method: str, other: str, records: Sequence[Record]) -> Text:
    if not records:
        return ()
    return compose_text(
        "{method} minus {other}: {effects}.\n",
        method=Emphasis((data.display_name(method),)),
        other=Emphasis((other,)),
        effects=_effects([(_place(data, record), record) for record in records]),
    )


def _strongest_sentence(data: ReportData, records: Sequence[Record]) -> Text:
    if not records:
        return ()
    named = [(f"{_place(data, record)} ({data.display_name(record['b'])})", record) for record in records]
    return compose_text("Against the strongest baseline: {effects}.\n", effects=_effects(named))


def _effects(named: Sequence[tuple[str, Record]]) -> Text:
    """Differences with their intervals, and what the corrected test makes of them; of many the smallest and largest."""
    ordered = sorted(named, key=lambda pair: float(pair[1]["value"]))
    shown = named if len(named) <= MOST_EFFECTS else [ordered[0], ordered[-1]]
    texts = [(f"{name} {_difference(record)}{OPEN_STATES.get(record['verdict'], '')}",) for name, record in shown]
    lead = () if shown is named else (f"of {len(named)} cases the smallest and the largest: ",)
    return (*lead, *join_texts(texts))


def _by_place(records: Sequence[Record]) -> list[list[Record]]:
    """The differences of every task and receiver."""
    places: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        places.setdefault((record["task"], record["receiver"]), []).append(record)
    return list(places.values())


def _strongest(records: Sequence[Record]) -> Record:
    """The difference from the baseline that is best, which is the smallest one."""
    return min(records, key=lambda record: float(record["value"]))


def chance_records(data: ReportData, method: str) -> list[Record]:
    """A method's differences from the majority class."""
    return [record for record in data.get_family("versus_chance") if record["a"] == method]


def baseline_records(data: ReportData, method: str) -> list[Record]:
    """A trained method's differences from the baselines that read something."""
    return [record for record in data.get_family("versus_baselines") if record["a"] == method]


def count_better(records: Sequence[Record]) -> str:
    """For example `3 of 4`."""
    return f"{sum(record['verdict'] == 'better' for record in records)} of {len(records)}"


def chance_items(data: ReportData, method: str) -> Iterator[Text]:
    """A sentence on each difference from chance."""
    for record in chance_records(data, method):
        decimals = _decimals(record)
        cell = data.get_cell(f"{record['task']}/{record['receiver']}/{record['a']}/{data.get_setting('metric')}")
        yield compose_text(
            "{place}: {accuracy} {interval}, {difference} against the majority class, {p}:\n{outcome}",
            place=_place(data, record),
            accuracy=format_percent(cell["value"], decimals),
            interval=format_interval(cell["low"], cell["high"], decimals),
            difference=_difference(record),
            p=_p_clause(data, record),
            outcome=_chance_outcome(record, decimals),
        )


def _chance_outcome(record: Record, decimals: int) -> str:
    if record["verdict"] in ("better", "worse"):
        return f"{record['verdict']} than chance."
    detectable = format_points(record["mde"], decimals)
    state = "not shown to differ from chance" if record["verdict"] == OPEN_VERDICTS[0] else "not after the correction"
    return f"{state} (smallest detectable difference {detectable} points)."


def control_items(data: ReportData) -> Iterator[Text]:
    """A sentence on each control: whether it is right more often than its own answers in another order."""
    for method in data.control_methods:
        records = [record for record in data.get_controls() if record["method"] == method]
        leaks = [record for record in records if record["verdict"] == "leak"]
        yield compose_text(
            "{name}: {outcome}",
            name=data.display_name(method),
            outcome=_control_outcome(data, leaks, len(records)),
        )


def _control_outcome(data: ReportData, leaks: Sequence[Record], count: int) -> Text:
    if not leaks:
        return (f"not above its permuted answers in any of {count} cases, as it should be.",)
    places = "; ".join(f"{_place(data, record)}, {format_signed(record['value'])} points" for record in leaks)
    return (
        Strong((f"above its permuted answers in {len(leaks)} of {count} cases; the control fails",)),
        f" ({places}).",
    )


def _items(data: ReportData, records: Sequence[Record], pattern: str) -> tuple[Text, ...]:
    return tuple(_item(data, record, pattern) for record in records)


def _item(data: ReportData, record: Record, pattern: str) -> Text:
    return compose_text(
        pattern,
        place=_place(data, record),
        baseline=Emphasis((data.display_name(record["b"]),)),
        difference=(_difference(record), ", ", _p_clause(data, record)),
        detectable=format_points(record["mde"], _decimals(record)),
    )


def _place(data: ReportData, record: Record) -> str:
    return f"{data.display_name(record['task'])}, {data.display_name(record['receiver'])}"


def _difference(record: Record) -> str:
    decimals = _decimals(record)
    interval = format_interval(record["low"], record["high"], decimals, sign=True)
    return f"{format_signed(record['value'], decimals)} points {interval}"


def _p_clause(data: ReportData, record: Record) -> Piece:
    return format_p_clause(record["p_adjusted"], ADJUSTMENTS[data.get_setting("adjust")])


def _decimals(record: Record) -> int:
    return decimals_for([record["high"] - record["low"]] if record["low"] is not None else [])
