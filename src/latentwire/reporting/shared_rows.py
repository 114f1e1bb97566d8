"""Parts that the tables share: the columns and cells of a difference, and what the notes under it say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentwire.reporting.caveats import list_caveats
from latentwire.reporting.document import (
    Column,
    Emphasis,
    Math,
    NoteMark,
    Strong,
    Text,
    Variable,
    compose_text,
    join_items,
)
from latentwire.reporting.number_format import (
    MISSING,
    PERCENT,
    count_of,
    format_interval,
    format_p_value,
    format_points,
    format_signed,
)
from latentwire.reporting.report_data import METRIC_NAMES, OPEN_VERDICTS, ReportData

ADJUSTMENTS = {"holm": "Holm", "bh": "BH"}
FAMILIES = {
    "versus_chance": "with chance",
    "versus_baselines": "of trained methods with baselines",
    "versus_reference": "of other methods with {reference}",
    "ablations": "of trained methods with each other, with controls and with probes on their wires",
}
"""What the differences of a family are."""
EACH_OTHER = "of trained methods with each other"
"""The ablations where there are no controls and no wires."""
SEES = {"text": "T", "labels": "L", "features": "F"}
"""How tables say what a method sees."""
NAMES, VERDICTS = "1.2in", "1.1in"
"""Widths of columns in which names, or verdicts, mostly stand on one line."""
METHOD, CHECKPOINT = Emphasis(("this method",)), Emphasis(("this checkpoint",))
OPPOSED = "‡"
DETECTABLE = (
    f"MDE: where no difference was shown, the smallest true one for which this design gives a verdict, after the "
    f"correction, with 80{PERCENT} power.\n"
)


@dataclass(frozen=True)
class FamilyNotes:
    """What the notes under a table say of the family of differences in it."""

    families: Mapping[str, int]
    """Families of the differences that the table prints, with how many differences each corrects together."""
    adjustment: str
    alpha: str
    has_constant: bool
    """A difference is the same on every example, so that it has no interval."""
    caveats: tuple[str, ...]
    has_receivers: bool
    signatures: tuple[str, ...]

    @property
    def corrected_p(self) -> Math:
        return Math((Variable("p", self.adjustment),))

    def final_sentences(self) -> Iterator[Text]:
        """What comes last in the notes."""
        if self.has_constant:
            yield ("A difference without an interval is the same on every example.\n",)
        for caveat in self.caveats:
            yield (Strong((caveat,)), "\n")

    def family_sentence(self, reference: str) -> Text:
        """How p-values are corrected in a table whose differences belong to several families."""
        known = FAMILIES if self.has_receivers else FAMILIES | {"ablations": EACH_OTHER}
        sizes = [f"{count} {known[name].format(reference=reference)}" for name, count in self.families.items()]
        return compose_text(
            "{p}: corrected within the family that declares the difference, over all {places}: {sizes}; "
            "intervals are not corrected.\n",
            p=self.corrected_p,
            places="tasks and receivers" if self.has_receivers else "tasks",
            sizes=join_items(sizes),
        )

    def table_sentences(self) -> Iterator[Text]:
        """The notes of a table that shows the whole family."""
        below = Math((Variable("p", self.adjustment), f" < {self.alpha}"))
        yield compose_text(
            "{p}: corrected over the {count} of this table; intervals are not corrected.\n",
            p=self.corrected_p,
            count=count_of(sum(self.families.values()), "difference"),
        )
        yield compose_text(
            "A verdict needs both {below} and an interval without 0; where only the interval, which is not corrected, "
            "leaves 0 out, it is {open}.\n",
            below=below,
            open=Emphasis((OPEN_VERDICTS[1],)),
        )
        yield (DETECTABLE,)
        yield compose_text(
            "Rows with several seeds speak of {method}, rows with one of {checkpoint}.\n",
            method=METHOD,
            checkpoint=CHECKPOINT,
        )
        yield from self.final_sentences()


def family_notes(data: ReportData, keys: Sequence[str], tasks: Sequence[str] | None = None) -> FamilyNotes:
    """The notes on the differences `keys`; `tasks` are those that the table shows, None for all."""
    families = data.stats["families"]
    names = dict.fromkeys(data.get_comparison(key)["adjusted"]["family"] for key in keys)
    return FamilyNotes(
        families={name: families[name]["m"] for name in names},
        adjustment=ADJUSTMENTS[data.get_setting("adjust")],
        alpha=f"{data.get_setting('alpha'):g}",
        has_constant=any(data.get_comparison(key)["low"] is None for key in keys),
        caveats=tuple(list_caveats(data, tasks)),
        has_receivers=data.has_receivers,
        signatures=tuple(sorted({data.get_adjusted(key)["signature"] for key in keys})),
    )


def receiver_title(data: ReportData, receiver: str) -> Text:
    """The title of a group of rows: the receiver that answers, if any does."""
    return (f"Receiver: {data.display_name(receiver)}",) if data.has_receivers else ()


def receiver_column(data: ReportData, head: str = "Receiver", width: str = "") -> tuple[Column, ...]:
    """The column in which a row names its receiver; none where there are no receivers."""
    column = Column((head,), width=width) if width else Column((head,))
    return (column,) if data.has_receivers else ()


def receiver_cell(data: ReportData, receiver: str) -> tuple[Text, ...]:
    """The cell in that column."""
    return ((data.display_name(receiver),),) if data.has_receivers else ()


def corrected_p(data: ReportData) -> Math:
    """The symbol of an adjusted p."""
    return Math((Variable("p", ADJUSTMENTS[data.get_setting("adjust")]),))


def interval_column(data: ReportData) -> Column:
    """A column for intervals beside their number."""
    return Column((f"{data.confidence}% CI",), align="center", small=True)


def difference_columns(data: ReportData, notes: FamilyNotes, digits: tuple[int, int]) -> tuple[Column, ...]:
    """Columns of what `difference_cells` gives."""
    return (
        Column(("Δ",), align="right", digits=digits, signed=True),
        interval_column(data),
        Column((notes.corrected_p,), align="right"),
        Column(("MDE",), align="right", digits=digits),
    )


def difference_cells(data: ReportData, key: str | None, decimals: int) -> tuple[Text, ...]:
    """Difference, interval, p and the smallest detectable difference, which stands wherever none was found."""
    if key is None:
        return ((MISSING,),) * 4
    record, adjusted = data.get_comparison(key), data.get_adjusted(key)
    detectable = adjusted["mde"] if adjusted["verdict"] in OPEN_VERDICTS else None
    return (
        (format_points(record["value"], decimals),),
        (format_interval(record["low"], record["high"], decimals, sign=True), *opposed_mark(record)),
        format_p_value(adjusted["p_adjusted"]),
        (format_points(detectable, decimals),),
    )


def opposed_mark(record: Mapping[str, Any]) -> Text:
    """A mark where another metric has the other method ahead; the means over tasks are of one metric each."""
    return (NoteMark(OPPOSED),) if record.get("opposed") else ()


def opposed_sentence(data: ReportData, keys: Sequence[str]) -> Iterator[Text]:
    """What the mark means, with the differences by the metrics that disagree."""
    marked = [data.get_comparison(key) for key in keys if data.get_comparison(key).get("opposed")]
    if marked:
        listed = [
            f"{_receiver_before(data, record)}{data.display_name(record['a'])} minus "
            f"{data.display_name(record['b'])}: {name_opposed(record)}"
            for record in marked
        ]
        yield (f"{OPPOSED}: by another metric the other method is ahead ({'; '.join(listed)}).\n",)


def _receiver_before(data: ReportData, record: Mapping[str, Any]) -> str:
    return f"{data.display_name(record['receiver'])}, " if data.has_receivers else ""


def name_opposed(record: Mapping[str, Any]) -> str:
    """The differences by the metrics that disagree with the one that the task is judged by."""
    others = [(METRIC_NAMES[name], record["metrics"][name]) for name in record["opposed"]]
    return " and ".join(
        f"{name} {format_signed(other['value'])} {format_interval(other['low'], other['high'], sign=True)}"
        for name, other in others
    )


def method_cell(data: ReportData, method: str, key: str | None) -> Text:
    """Name of a method, with a dagger where it keeps up with the reference and was not found better."""
    name = data.display_name(method)
    if key is None or data.get_adjusted(key)["verdict"] == "better":
        return (name,)
    kept = data.get_comparison(key)["retention"]["outcome"] == "non-inferior"
    return (name, NoteMark("†")) if kept else (name,)


def dagger_sentence(data: ReportData, notes: FamilyNotes, metric: str) -> Text:
    """What the dagger of `method_cell` means."""
    return compose_text(
        "†: not better than {reference}, but keeps at least {retained} of its {metric} (one-sided, {alpha}).\n",
        reference=Emphasis((data.reference_name,)),
        retained=data.retained + PERCENT,
        metric=metric,
        alpha=Math((f"α = {notes.alpha}",)),
    )


def verdict_cell(verdict: str) -> Text:
    """A verdict as a cell; what was found better is bold."""
    return (Strong((verdict,)),) if verdict == "better" else (verdict,)


def merge_sentences(*sentences: Text) -> Text:
    """One text of several, without the last line break."""
    pieces = [piece for sentence in sentences for piece in sentence]
    if pieces and isinstance(pieces[-1], str):
        pieces[-1] = pieces[-1].rstrip("\n")
    return tuple(piece for piece in pieces if piece != "")


def unique_ids(keys: Sequence[str]) -> tuple[str, ...]:
    """Every id once, in the order of first mention."""
    return tuple(dict.fromkeys(keys))


def join_ids(*keys: str | None) -> tuple[str, ...]:
    """The ids that are there, for the end of a row."""
    return tuple(key for key in keys if key)
