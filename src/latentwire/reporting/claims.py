"""Which sentences the statistics allow, and in which list each comparison belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latentwire.reporting.document import Emphasis, Reference, Strong, Text, compose_text, join_items, join_texts
from latentwire.reporting.number_format import (
    PERCENT,
    count_of,
    decimals_for,
    format_decimal,
    format_interval,
    format_signed,
)
from latentwire.reporting.report_data import METRIC_NAMES, OPEN_VERDICTS, Record, ReportData
from latentwire.reporting.shared_rows import ADJUSTMENTS, name_opposed

MOST_EFFECTS = 4
"""Differences up to which the abstract names all."""
OPEN_STATES = {"not different": " (no difference shown)", "not after correction": " (not after the correction)"}
UNCORRECTED = (
    "Intervals are not corrected: each of these leaves 0 out, but so would one in twenty if there were no differences."
)
OPEN = (
    "This is no evidence of equality: the smallest true difference that the design would find with 80"
    f"{PERCENT} power stands beside each."
)


@dataclass(frozen=True)
class Claim:
    """A heading, and which comparisons belong under it; their numbers stand in the table."""

    heading: str
    text: Text


def list_claims(data: ReportData, method: str) -> Iterator[Claim]:
    """The comparisons of a trained method with baselines, sorted into won, lost, open and lost to the correction."""
    records = baseline_records(data, method)
    won, lost, undecided, uncorrected = (
        [record for record in records if record["verdict"] == verdict]
        for verdict in ("better", "worse", *OPEN_VERDICTS)
    )
    name, adjustment = data.display_name(method), ADJUSTMENTS[data.get_setting("adjust")]
    late = f"Where a difference does not outlast {adjustment}'s correction ({len(uncorrected)} of {len(records)})."
    yield _claim(data, f"Where {name} wins ({len(won)} of {len(records)}).", won)
    yield _claim(data, f"Where a baseline wins ({len(lost)} of {len(records)}).", lost)
    yield _claim_open(f"Where no difference was shown ({len(undecided)} of {len(records)}).", undecided, OPEN)
    if uncorrected:
        yield _claim_open(late, uncorrected, UNCORRECTED)


def _claim_open(heading: str, records: Sequence[Record], remark: str) -> Claim:
    """Comparisons without a verdict: which ones stands in the table with what they leave open."""
    if not records:
        return Claim(heading, ("Nowhere.",))
    return Claim(heading, ("In Table\u00a0", Reference("tab:versus_baselines"), f". {remark}"))


def _claim(data: ReportData, heading: str, records: Sequence[Record]) -> Claim:
    """The places of these comparisons, by baseline."""
    if not records:
        return Claim(heading, ("Nowhere.",))
    against = [
        (Emphasis((data.display_name(name),)), f" ({'; '.join(_claimed_places(data, records, name))})")
        for name in dict.fromkeys(record["b"] for record in records)
    ]
    return Claim(heading, ("Against ", *join_texts(against, ", "), "."))


def _claimed_places(data: ReportData, records: Sequence[Record], baseline: str) -> Iterator[str]:
    for record in records:
        if record["b"] == baseline:
            yield data.place_name(record) + (", where the metrics disagree" if record["opposed"] else "")


def summarize_claims(data: ReportData, method: str) -> Text:
    """How far a trained method is from the baselines, with intervals, for the abstract."""
    baselines = baseline_records(data, method)
    reference = data.get_setting("reference")
    against = [record for record in data.reference_differences() if record["a"] == method]
    best = [record for record in strongest_records(baselines) if record["b"] != reference]
    return (
        *_effects_sentence(data, method, data.reference_name, against),
        *_strongest_sentence(data, best),
        *(cost_sentence(data, method) if data.has_costs else ()),
    )


def cost_sentence(data: ReportData, method: str) -> Text:
    """What a method costs beside the reference, and where something cheaper is as good; nothing where it reads none."""
    blocks = [block for block in data.stats["blocks"] if method in block["cost_ratio"]]
    ratios = {block["task"]: block["cost_ratio"][method] for block in blocks if block["cost_ratio"][method] is not None}
    times = [f"{format_decimal(ratio, 1)} times on {data.display_name(task)}" for task, ratio in ratios.items()]
    costs = compose_text(
        "An example costs {method} {times} the bytes of {reference}",
        method=Emphasis((data.display_name(method),)),
        times=join_items(times),
        reference=Emphasis((data.reference_name,)),
    )
    cheaper = "; ".join(_list_dominators(data, method, blocks))
    start = (*costs, "; ") if times else ("By bytes, ",)
    if cheaper:
        return (*start, f"as much or more is scored for no more bytes by {cheaper}.\n")
    return (*start, "nothing that costs no more scores as much.\n")


def _list_dominators(data: ReportData, method: str, blocks: Sequence[Record]) -> Iterator[str]:
    """Every method that is better for no more bytes, with in how many cases."""
    for name in dict.fromkeys(name for block in blocks for name in block["dominated"][method]):
        count = sum(name in block["dominated"][method] for block in blocks)
        where = "everywhere" if count == len(blocks) else f"in {count} of {count_of(len(blocks), 'case')}"
        yield f"{data.display_name(name)} {where}"


def _effects_sentence(data: ReportData, method: str, other: str, records: Sequence[Record]) -> Text:
    if not records:
        return ()
    return compose_text(
        "{method} minus {other}: {effects}.\n",
        method=Emphasis((data.display_name(method),)),
        other=Emphasis((other,)),
        effects=_effects([(data.place_name(record), record) for record in records]),
    )


def _strongest_sentence(data: ReportData, records: Sequence[Record]) -> Text:
    if not records:
        return ()
    named = [(f"{data.place_name(record)} ({data.display_name(record['b'])})", record) for record in records]
    return compose_text("Against the strongest baseline: {effects}.\n", effects=_effects(named))


def _effects(named: Sequence[tuple[str, Record]]) -> Text:
    """Differences with their intervals, and what the corrected test makes of them; of many the smallest and largest."""
    ordered = sorted(named, key=lambda pair: float(pair[1]["value"]))
    shown = named if len(named) <= MOST_EFFECTS else [ordered[0], ordered[-1]]
    texts = [(f"{name} {_difference(record)}{OPEN_STATES.get(record['verdict'], '')}",) for name, record in shown]
    lead = () if shown is named else (f"of {count_of(len(named), 'case')} the smallest and the largest: ",)
    return (*lead, *join_texts(texts))


def strongest_records(records: Sequence[Record]) -> list[Record]:
    """For every task and receiver the difference from the baseline that is best there, which is the smallest one."""
    places: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        places.setdefault((record["task"], record["receiver"]), []).append(record)
    return [min(own, key=lambda record: float(record["value"])) for own in places.values()]


def chance_records(data: ReportData, method: str) -> list[Record]:
    """A method's differences from the majority class."""
    return [record for record in data.get_family("versus_chance") if record["a"] == method]


def baseline_records(data: ReportData, method: str) -> list[Record]:
    """A trained method's differences from the baselines that read something."""
    return [record for record in data.get_family("versus_baselines") if record["a"] == method]


def count_better(records: Sequence[Record]) -> str:
    """For example `3 of 4`."""
    return f"{sum(record['verdict'] == 'better' for record in records)} of {len(records)}"


def chance_text(data: ReportData, method: str) -> Text:
    """In how many cases a method is better than the majority class, and in which it is not."""
    records = chance_records(data, method)
    others = [f"{data.place_name(record)} ({_chance_outcome(record)})" for record in records if _is_open(record)]
    return compose_text(
        "{method} is better than the majority class in {better}{others}.\n",
        method=Emphasis((data.display_name(method),)),
        better=f"{count_better(records)} case{'s' if len(records) > 1 else ''}",
        others=f"; not in {'; '.join(others)}" if others else "",
    )


def _is_open(record: Record) -> bool:
    return bool(record["verdict"] != "better")


def _chance_outcome(record: Record) -> str:
    if record["verdict"] == "worse":
        return "worse"
    return "not shown to differ" if record["verdict"] == OPEN_VERDICTS[0] else "not after the correction"


def control_items(data: ReportData) -> Iterator[Text]:
    """A sentence on each control: whether it was shown to be right more often than its answers in another order."""
    for method in data.control_methods:
        records = [record for record in data.get_excesses("controls") if record["method"] == method]
        outcome = _control_outcome(data, records)
        yield compose_text("{name}: {outcome}\n", name=Emphasis((data.display_name(method),)), outcome=outcome)


def _control_outcome(data: ReportData, records: Sequence[Record]) -> Text:
    count, leaks = len(records), [record for record in records if record["verdict"] == "leak"]
    if records[0]["S"] == 1:
        return (f"trained once, so that none of {count_of(count, 'case')} has a verdict.",)
    if not leaks:
        return (f"not shown to be above its permuted answers in any of {count_of(count, 'case')}, as it should be.",)
    places = "; ".join(f"{data.place_name(record)}, {format_signed(record['value'])} points" for record in leaks)
    return (
        Strong((f"above its permuted answers in {len(leaks)} of {count_of(count, 'case')}; the control fails",)),
        f" ({places}).",
    )


def _difference(record: Record) -> str:
    decimals = _decimals(record)
    interval = format_interval(record["low"], record["high"], decimals, sign=True)
    judged = "" if record["metric"] == "accuracy" else f" of {METRIC_NAMES[record['metric']]}"
    opposed = f", but {name_opposed(record)}: the metrics disagree" if record["opposed"] else ""
    return f"{format_signed(record['value'], decimals)} points{judged} {interval}{opposed}"


def _decimals(record: Record) -> int:
    return decimals_for([record["high"] - record["low"]] if record["low"] is not None else [])
