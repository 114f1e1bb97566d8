"""The paper as a document: which sections it has, and where its tables and figures stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from latentwire.reporting import claims
from latentwire.reporting.caveats import list_caveats
from latentwire.reporting.checklist import list_draft_reasons
from latentwire.reporting.class_tables import list_errors
from latentwire.reporting.document import (
    Block,
    Document,
    Emphasis,
    Figure,
    FigureRow,
    Heading,
    Paragraph,
    Piece,
    Reference,
    Strong,
    Table,
    Text,
    compose_text,
    join_items,
    join_texts,
)
from latentwire.reporting.kinds import KINDS, OTHER, WIRE_INTRODUCTION
from latentwire.reporting.limitations import list_limitations
from latentwire.reporting.method_text import describe_method, describe_setup, describe_statistics
from latentwire.reporting.number_format import PERCENT, capitalize, count_of
from latentwire.reporting.provenance_text import describe_provenance
from latentwire.reporting.report_data import METRIC_NAMES, ReportData, Revision, score_name
from latentwire.reporting.samples_table import describe_disagreements
from latentwire.reporting.shared_rows import merge_sentences
from latentwire.reporting.supervision import describe_supervision
from latentwire.reporting.unseen_table import describe_unseen


def build_paper(
    data: ReportData,
    title: str,
    tables: Sequence[Table],
    revision: Revision | None = None,
    origin: Mapping[str, str] | None = None,
) -> Document:
    """The whole report, with `tables` in their places and every number taken from the statistics.

    `origin` maps what the footer names, such as a file, to its digest.
    """
    named = {table.name: table for table in tables}
    blocks = [
        Paragraph(_abstract(data), "abstract"),
        Heading(2, ("In short",)),
        *describe_method(data),
        Paragraph(merge_sentences(*_result_sentences(data))),
        _result_figures(data),
        *describe_setup(named),
        *_results(data, named),
        *_errors(data, named),
        *_limitations(data),
        *describe_statistics(data),
        *_more_results(data, named),
        *_costs(data, named),
        *describe_provenance(data, revision, origin or {}, named["checklist"]),
    ]
    return Document(title, tuple(blocks), tuple(list_draft_reasons(data, revision)), data.given_words)


METRICS_TEXT = (
    "Every method answers every test {kind}. Accuracy is the share of right answers, balanced accuracy the mean of the "
    "classes' recall, macro-F1 the mean of their F1, over the classes that have a test {kind}."
)


def _abstract(data: ReportData) -> Text:
    baselines: list[Piece] = [Emphasis((data.display_name(key),)) for key in data.baseline_methods]
    measured = compose_text(
        "We measure {what} on {tasks} against {count}: {baselines}.\n",
        what="it" if data.has_receivers else _emphasize(data, data.main_methods),
        tasks=join_items([f"{data.display_name(task)} ({METRIC_NAMES[data.metric_of(task)]})" for task in data.tasks]),
        count=count_of(len(baselines), "baseline"),
        baselines=join_items(baselines),
    )
    introduced = [_introduction(data, method) for method in data.main_methods] if data.has_receivers else []
    return merge_sentences(
        *introduced,
        measured,
        describe_supervision(data),
        *(claims.summarize_claims(data, method) for method in data.main_methods),
    )


def _emphasize(data: ReportData, methods: Sequence[str]) -> Text:
    return join_items([Emphasis((data.display_name(method),)) for method in methods])


def _introduction(data: ReportData, method: str) -> Text:
    receivers, kind = data.stats["methods"][method]["models"], data.kind_of(method)
    return compose_text(
        WIRE_INTRODUCTION if kind == "wire" else KINDS.get(kind, OTHER).introduction,
        method=Emphasis((data.display_name(method),)),
        receivers=join_items([data.display_name(model) for model in receivers]),
        read="reads" if len(receivers) == 1 else "read",
    )


def _results(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    yield Heading(2, ("What came out",))
    yield Paragraph((METRICS_TEXT.format(kind=data.example),))
    for task in data.tasks:
        yield tables[task]
    yield Heading(3, ("Against chance, and controls." if data.control_methods else "Against chance.",))
    yield Paragraph(merge_sentences(*_chance_sentences(data)))
    if data.stats["unseen"]:
        yield Heading(3, ("Unseen words.",))
        yield Paragraph(describe_unseen(data))
    if "versus_baselines" in tables:
        yield Heading(3, ("Against the baselines.",))
        for method in data.main_methods:
            yield Paragraph(_lead_in([(claim.heading, claim.text) for claim in claims.list_claims(data, method)]))


def _result_sentences(data: ReportData) -> Iterator[Text]:
    for method in data.trained_methods:
        yield from _one_seed_sentence(data, method)
    costs = ", {pareto} the scores against what an example costs," if data.has_costs else ""
    means = "the means over the tasks, " if data.has_receivers or len(data.tasks) > 1 else ""
    yield compose_text(
        f"{{differences}} has the differences from {{reference}}{costs} and {{tables}} the numbers; {means}all "
        "families of comparisons, the classes and the training ({curves}) stand in the appendix.\n",
        differences=_reference("Figure", "fig:differences"),
        reference=Emphasis((data.reference_name,)),
        pareto=_reference("Figure", "fig:pareto"),
        tables=_task_references(data),
        curves=_reference("Figure", "fig:curves"),
    )
    for caveat in list_caveats(data):
        yield (Strong((caveat,)), "\n")


def _one_seed_sentence(data: ReportData, method: str) -> Iterator[Text]:
    if len(data.stats["methods"][method]["seeds"]) == 1:
        yield compose_text(
            "{method} was trained with one seed per task: seed variance is not estimated, and what is said of it holds "
            "for this checkpoint only.\n",
            method=Emphasis((data.display_name(method),)),
        )


def _result_figures(data: ReportData) -> Block:
    """Differences, beside what they cost."""
    differences = _differences_figure(data)
    return FigureRow((differences, _pareto_figure(data))) if data.has_costs else differences


def _differences_figure(data: ReportData) -> Figure:
    caption = compose_text(
        "Paired differences from {reference} with their {confidence} intervals, not corrected.\n"
        "Grey: within {lost} of its {score}.",
        reference=Emphasis((data.reference_name,)),
        confidence=data.confidence + PERCENT,
        score=score_name(data),
        lost=f"{100 - 100 * data.get_setting('retained'):g}{PERCENT}",
    )
    return Figure("differences", "fig:differences", caption)


def _pareto_figure(data: ReportData) -> Figure:
    caption = (
        f"{capitalize(score_name(data))} against bytes per example, with {data.confidence}{PERCENT} intervals. "
        "Line: the front, where nothing cheaper is better."
    )
    return Figure("pareto", "fig:pareto", (caption,))


def _task_references(data: ReportData, prefix: str = "") -> Text:
    """The tables of the tasks; their names begin with `prefix`."""
    kind = "Tables" if len(data.tasks) > 1 else "Table"
    return (f"{kind}\u00a0", *join_items([Reference(f"tab:{prefix}{task}") for task in data.tasks]))


def _reference(kind: str, label: str) -> Text:
    return (f"{kind}\u00a0", Reference(label))


def _chance_sentences(data: ReportData) -> Iterator[Text]:
    for method in data.main_methods:
        yield claims.chance_text(data, method)
    yield compose_text("{table} has the differences.\n", table=_reference("Table", "tab:versus_chance"))
    controls = tuple(claims.control_items(data))
    if controls:
        yield compose_text(
            "Controls ({table}): a receiver that does not read the example's own wire, or that reads one trained\n"
            "on permuted labels, may be right as often as the same answers in another order, which need not be\n"
            "the rate of the majority class. More, over several trainings, would mean that answers come from\n"
            "elsewhere.\n",
            table=_reference("Table", "tab:controls"),
        )
        yield from controls


def _errors(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    yield Heading(2, ("Where it errs",))
    for method in data.main_methods:
        yield Paragraph(
            compose_text(
                "{method}, by class ({tables}): {errors}",
                method=Emphasis((data.display_name(method),)),
                tables=_task_references(data, "recall_"),
                errors=merge_sentences(*list_errors(data, method)),
            )
        )
    yield Paragraph(merge_sentences(describe_disagreements(data)))
    yield tables["disagreements"]
    yield tables["samples"]


def _limitations(data: ReportData) -> Iterator[Block]:
    yield Heading(2, ("Limitations",))
    yield Paragraph(_lead_in(list(list_limitations(data))))


def _lead_in(subjects: Sequence[tuple[str, Text]]) -> Text:
    """One paragraph whose parts begin with their subjects, in italics."""
    return join_texts([(Emphasis((subject,)), " ", *text) for subject, text in subjects], "\n")


def _more_results(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    """Tables and figures in an order in which they fill pages."""
    yield Heading(2, ("All comparisons",), begins_appendix=True)
    yield from _tables(tables, "main", "costs")
    curves = "Training loss and validation accuracy: thin lines are seeds, thick lines their mean"
    bands = ", bands their range." if data.has_several_seeds else "."
    left = " Ablations are left out." if data.main_methods != data.trained_methods else ""
    yield Figure("learning_curves", "fig:curves", (curves + bands + left,))
    yield from _tables(tables, "versus_baselines")
    caption = (
        f"{capitalize(score_name(data))} with its {data.confidence}{PERCENT} interval over examples and, for trained "
        "methods, seeds. "
        "Dashed: rate of the majority class."
    )
    caption += "\nOpen markers: controls." if data.control_methods else ""
    several = " Small points: single seeds." if data.has_several_seeds else ""
    yield Figure("accuracy", "fig:accuracy", (caption + several,))
    first, *others = (f"recall_{task}" for task in data.tasks)
    yield from _tables(tables, "controls", "unseen", "ablations", "statistics", first, "versus_chance", *others)


def _tables(tables: Mapping[str, Table], *names: str) -> Iterator[Table]:
    """Those of these tables that the statistics have."""
    yield from (tables[name] for name in names if name in tables)


def _costs(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    has_shares = any(record["shares"] for record in data.reference_differences())
    sure = "how sure the numbers are"
    yield Heading(2, (f"What it costs, and {sure}" if data.has_costs else capitalize(sure),))
    yield Paragraph(merge_sentences(*_cost_sentences(data, has_shares, "statistics" in tables)))
    if has_shares:
        caption = "What the variance of the differences from {reference} is made of."
        reference = Emphasis((data.reference_name,))
        yield Figure("variance_shares", "fig:shares", compose_text(caption, reference=reference))
    yield tables["calibration"]
    yield Figure("calibration", "fig:calibration", CALIBRATION)
    if any(record["reason"] is None for record in data.stats["ranks"].values()):
        yield Figure("ranks", "fig:ranks", RANKS)


CALIBRATION: Text = (
    "Share of right answers against confidence, in ten equal bins, over all seeds; the area of a point is its share of "
    "the answers. Dashed: confidence that can be believed.",
)
RANKS: Text = (
    "Mean ranks over the tasks with Nemenyi's critical difference: methods whose ranks lie within a line are not told "
    "apart.",
)


def _cost_sentences(data: ReportData, has_shares: bool, has_statistics: bool) -> Iterator[Text]:
    if data.has_costs:
        yield compose_text("{costs} lists what an example costs.\n", costs=_reference("Table", "tab:costs"))
    if has_statistics:
        yield compose_text(
            "{statistics} has for every difference from {other} the statement about the checkpoints at hand, the "
            "bootstrap, the ratio, and the probabilities of a difference that matters.\n",
            statistics=_reference("Table", "tab:statistics"),
            other="a baseline" if data.has_receivers else "another method",
        )
    yield compose_text(
        "{table} and {figure} show how far the confidence of an answer can be believed.\n",
        table=_reference("Table", "tab:calibration"),
        figure=_reference("Figure", "fig:calibration"),
    )
    if has_shares:
        yield compose_text(
            "{figure} splits the variance of the differences: a large share of the seeds asks for more seeds, a large "
            "share of the examples for\nmore test {kind}s.\n",
            figure=_reference("Figure", "fig:shares"),
            kind=data.example,
        )
    reasons = [record["reason"] for record in data.stats["ranks"].values() if record["reason"]]
    if reasons:
        yield (f"Mean ranks and critical differences are not shown. {reasons[0].split('. Next')[0]}.\n",)
