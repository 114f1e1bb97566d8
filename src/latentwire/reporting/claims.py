"""Which sentences the statistics allow, and in which list each comparison belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latentwire.reporting.document import Emphasis, Piece, Strong, Text, compose_text
from latentwire.reporting.number_format import (
    PERCENT,
    decimals_for,
    format_interval,
    format_p_clause,
    format_percent,
    format_points,
    format_signed,
)
from latentwire.reporting.report_data import Record, ReportData
from latentwire.reporting.shared_rows import ADJUSTMENTS

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
    """The comparisons of a trained method with baselines, sorted into won, lost and open."""
    records = baseline_records(data, method)
    won, lost, undecided = (
        [record for record in records if record["verdict"] == verdict]
        for verdict in ("better", "worse", "not different")
    )
    yield Claim(
        f"Where {data.display_name(method)} wins ({len(won)} of {len(records)}).",
        _items(data, won, "{place}, against {baseline}: {difference}."),
    )
    yield Claim(
        f"Where a baseline wins ({len(lost)} of {len(records)}).",
        _items(data, lost, "{place}, {baseline} is better: {difference}."),
    )
    yield Claim(
        f"Where no difference was shown ({len(undecided)} of {len(records)}).",
        _items(data, undecided, "{place}, against {baseline}: {difference}, detectable {detectable}."),
        OPEN,
    )


def summarize_claims(data: ReportData, method: str) -> Text:
    """How often a trained method is better, worse or not told apart, for the abstract."""
    records = baseline_records(data, method)
    verdicts = [record["verdict"] for record in records]
    return compose_text(
        "{method} is better than chance in {better} cases.\n"
        "Against baselines that read the text or the features it is better in {won}, worse in {lost}\n"
        "and not shown to differ in {undecided} of {total} comparisons.\n",
        method=Emphasis((data.display_name(method),)),
        better=count_better(chance_records(data, method)),
        won=verdicts.count("better"),
        lost=verdicts.count("worse"),
        undecided=verdicts.count("not different"),
        total=len(verdicts),
    )


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
    return f"not shown to differ from chance (smallest detectable difference {detectable} points)."


def control_items(data: ReportData) -> Iterator[Text]:
    """A sentence on each difference of a control from chance."""
    for control in data.get_family("versus_chance"):
        if control["a"] in data.control_methods:
            yield compose_text(
                "{name}, {place}: {difference} against the majority class:\n{outcome}",
                name=data.display_name(control["a"]),
                place=_place(data, control),
                difference=_difference(control),
                outcome=_control_outcome(control),
            )


def _control_outcome(record: Record) -> Text:
    if record["verdict"] == "better":
        return (Strong(("above chance; the control fails",)), ".")
    return ("not above chance, as it should be.",)


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
