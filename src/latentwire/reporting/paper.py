"""The paper as a document: which sections it has, and where its tables and figures stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from latentwire.reporting import claims
from latentwire.reporting.caveats import list_caveats
from latentwire.reporting.checklist import ADJUSTMENTS, DIGEST, list_draft_reasons
from latentwire.reporting.document import (
    Block,
    Code,
    Document,
    Emphasis,
    Figure,
    Heading,
    ItemList,
    Math,
    Paragraph,
    Piece,
    Reference,
    Strong,
    Table,
    Text,
    Variable,
    compose_text,
    join_items,
    join_texts,
)
from latentwire.reporting.number_format import PERCENT
from latentwire.reporting.provenance_tables import build_provenance_tables
from latentwire.reporting.report_data import ReportData, Revision
from latentwire.reporting.shared_rows import CHECKPOINT, METHOD, merge_sentences


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
        *_measurements(data, named),
        *_against_chance(data, named),
        *_against_baselines(data, named),
        *_costs(data, named),
        *_methods(data),
        *_provenance(data, revision, origin or {}),
        named["checklist"],
    ]
    return Document(title, tuple(blocks), tuple(list_draft_reasons(data, revision)), data.given_words)


def _abstract(data: ReportData) -> Text:
    baselines: list[Piece] = [Emphasis((data.display_name(key),)) for key in data.baseline_methods]
    measured = compose_text(
        "We measure it on {tasks} against {count} baselines: {baselines}.\n",
        tasks=join_items([data.display_name(task) for task in data.tasks]),
        count=len(baselines),
        baselines=join_items(baselines),
    )
    return merge_sentences(
        *(_introduction(data, method) for method in data.trained_methods),
        measured,
        *(claims.summarize_claims(data, method) for method in data.trained_methods),
        ("All numbers, verdicts and lists in this document are computed from stored predictions, one per example.",),
    )


def _introduction(data: ReportData, method: str) -> Text:
    receivers = data.stats["methods"][method]["models"]
    cells = [cell for cell in data.stats["cells"].values() if cell["method"] == method]
    return compose_text(
        "{method} turns the features of a frozen sender into a few latent vectors ({bytes}\u00a0bytes per example) "
        "that\n{receivers} {read}; the language models are frozen.\n",
        method=Emphasis((data.display_name(method),)),
        bytes=f"{cells[0]['bytes_per_example']:,.0f}",
        receivers=join_items([data.display_name(model) for model in receivers]),
        read="reads" if len(receivers) == 1 else "read",
    )


def _measurements(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    yield Heading(2, ("What was measured",))
    yield Paragraph(merge_sentences(*_measurement_sentences(data)))
    if data.stats["main"]:
        yield tables["main"]
    for task in data.tasks:
        yield tables[task]
    caption = (
        f"Accuracy with its {data.confidence}{PERCENT} interval over examples and, for trained methods, seeds. "
        "Dashed: rate of the majority class.\nOpen markers: controls."
    )
    several = " Small points: single seeds." if data.has_several_seeds else ""
    yield Figure("accuracy", "fig:accuracy", (caption + several,))


def _measurement_sentences(data: ReportData) -> Iterator[Text]:
    for task in data.tasks:
        about, name = data.stats["tasks"][task], Emphasis((data.display_name(task),))
        pattern = "{task}: {count} test texts in {classes} classes.\n"
        yield compose_text(pattern, task=name, count=about["n"], classes=len(about["counts"]))
    yield ("Every method answers every test text; accuracy is the share of right answers.\n",)
    for method in data.trained_methods:
        yield _seeds_sentence(data, method)
    yield (
        "The baselines have no seed and were computed once.\n"
        "What each method sees, and how many bytes an example costs it, stands in\n",
    )
    yield _task_references(data)
    yield compose_text(";\n{figure} shows the accuracies", figure=_reference("Figure", "fig:accuracy"))
    if data.stats["main"]:
        yield compose_text(", {table} their means over the tasks", table=_reference("Table", "tab:main"))
    yield (".\n",)
    for caveat in list_caveats(data):
        yield (Strong((caveat,)), "\n")


def _seeds_sentence(data: ReportData, method: str) -> Text:
    seeds = len(data.stats["methods"][method]["seeds"])
    if seeds > 1:
        pattern = "{method} was trained with {seeds} seeds per task.\n"
    else:
        pattern = (
            "{method} was trained with one seed per task: seed variance is not estimated, and what is said of it holds "
            "for this checkpoint only.\n"
        )
    return compose_text(pattern, method=Emphasis((data.display_name(method),)), seeds=seeds)


def _task_references(data: ReportData) -> Text:
    kind = "Tables" if len(data.tasks) > 1 else "Table"
    return (f"{kind}\u00a0", *join_items([Reference(f"tab:{task}") for task in data.tasks]))


def _reference(kind: str, label: str) -> Text:
    return (f"{kind}\u00a0", Reference(label))


def _against_chance(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    yield Heading(2, ("Against chance",))
    yield tables["versus_chance"]
    for method in data.trained_methods:
        yield Paragraph(
            compose_text(
                "{method} is better than the majority class in {better} cases ({table}):",
                method=Emphasis((data.display_name(method),)),
                better=claims.count_better(claims.chance_records(data, method)),
                table=_reference("Table", "tab:versus_chance"),
            )
        )
        yield ItemList(tuple(claims.chance_items(data, method)))
    controls = tuple(claims.control_items(data))
    if controls:
        yield Paragraph(
            compose_text(
                "Controls ({table}): a receiver that does not read the example's own wire may be right as often as the "
                "same answers\nin another order, which need not be the rate of the majority class. "
                "More would mean that answers come from elsewhere:",
                table=_reference("Table", "tab:controls"),
            ),
            "lead",
        )
        yield ItemList(controls)
        yield tables["controls"]


def _against_baselines(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    yield Heading(2, ("Against the baselines",))
    if "versus_baselines" in tables:
        yield tables["versus_baselines"]
        for method in data.trained_methods:
            for claim in claims.list_claims(data, method):
                yield Heading(3, (claim.heading,))
                yield from _claim_blocks(claim)
    if "ablations" in tables:
        yield Heading(3, ("Ablations.",))
        sets = " sets the method against itself with one thing changed."
        yield Paragraph((*_reference("Table", "tab:ablations"), sets))
        yield tables["ablations"]
    yield Figure("differences", "fig:differences", _differences_caption(data))
    curves = "Training loss and validation accuracy: thin lines are seeds, thick lines their mean"
    bands = ", bands their range." if data.has_several_seeds else "."
    yield Figure("learning_curves", "fig:curves", (curves + bands,))


def _claim_blocks(claim: claims.Claim) -> Iterator[Block]:
    if not claim.items:
        yield Paragraph(("Nowhere.",))
        return
    if claim.introduction:
        yield Paragraph((claim.introduction,))
    yield ItemList(claim.items)


def _differences_caption(data: ReportData) -> Text:
    return compose_text(
        "Paired differences from {reference} with their {confidence} intervals, not corrected.\n"
        "Grey: within {lost} of its accuracy.",
        reference=Emphasis((data.reference_name,)),
        confidence=data.confidence + PERCENT,
        lost=f"{100 - 100 * data.get_setting('retained'):g}{PERCENT}",
    )


def _costs(data: ReportData, tables: Mapping[str, Table]) -> Iterator[Block]:
    has_shares = any(record["shares"] for record in data.reference_differences())
    yield Heading(2, ("What it costs, and how sure the numbers are",))
    yield Paragraph(merge_sentences(*_cost_sentences(data, has_shares, "statistics" in tables)))
    yield tables["costs"]
    yield Figure(
        "pareto",
        "fig:pareto",
        (
            f"Accuracy against bytes per example, with {data.confidence}{PERCENT} intervals. Line: the front, where "
            "nothing cheaper is better.",
        ),
    )
    if "statistics" in tables:
        yield tables["statistics"]
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
    yield compose_text(
        "{pareto} sets accuracy against bytes, which {costs} lists.\n",
        pareto=_reference("Figure", "fig:pareto"),
        costs=_reference("Table", "tab:costs"),
    )
    if has_statistics:
        yield compose_text(
            "{statistics} has for every difference from a baseline the statement about the checkpoints at hand, the "
            "bootstrap, the ratio, and the probabilities of a difference that matters.\n",
            statistics=_reference("Table", "tab:statistics"),
        )
    yield compose_text(
        "{table} and {figure} show how far the confidence of an answer can be believed.\n",
        table=_reference("Table", "tab:calibration"),
        figure=_reference("Figure", "fig:calibration"),
    )
    if has_shares:
        yield compose_text(
            "{figure} splits the variance of the differences: a large share of the seeds asks for more seeds, a large "
            "share of the examples for\nmore test texts.\n",
            figure=_reference("Figure", "fig:shares"),
        )
    reasons = [record["reason"] for record in data.stats["ranks"].values() if record["reason"]]
    if reasons:
        yield (f"Mean ranks and critical differences are not shown. {reasons[0].split('. Next')[0]}.\n",)


def _methods(data: ReportData) -> Iterator[Block]:
    alpha, retained = f"{data.get_setting('alpha'):g}", data.retained + PERCENT
    yield Heading(2, ("How the numbers were computed",))
    yield Paragraph(
        compose_text(
            "Scores of a trained method form a matrix of seeds by examples; both are random and crossed, because every "
            "seed answers the same texts.\n"
            "The variance of a mean, or of a paired difference, is that of the two-way random-effects analysis of "
            "variance, with Satterthwaite's\n"
            "degrees of freedom; such numbers speak of {method}. With one seed, or none, only examples vary and the "
            "number speaks of\n"
            "{checkpoint}; two single runs are compared by McNemar's exact test. Intervals cover {confidence} and are "
            "not corrected;\n"
            "{p}-values are corrected ({adjustment}) within families over all tasks and receivers; every difference "
            "belongs to one family, and has one verdict wherever it stands.\n"
            "A share of {retained} is called kept if the one-sided test of {kept} rejects at {alpha}.\n"
            "{differences} shows the differences and {curves} the training.",
            method=METHOD,
            checkpoint=CHECKPOINT,
            confidence=data.confidence + PERCENT,
            p=Math((Variable("p"),)),
            adjustment=ADJUSTMENTS[data.get_setting("adjust")],
            retained=retained,
            kept=Math((f"A − {retained} · B",)),
            alpha=Math((f"α = {alpha}",)),
            differences=_reference("Figure", "fig:differences"),
            curves=_reference("Figure", "fig:curves"),
        )
    )


SLOTS = (
    "Slot cosine: between two vectors of a wire, a mean over pairs and over the texts of the last validation; at 1 "
    "they are one vector. Effective rank: how many directions they span (Roy & Vetterli), over the same texts."
)


def _provenance(data: ReportData, revision: Revision | None, origin: Mapping[str, str]) -> Iterator[Block]:
    yield Heading(2, ("Provenance",), holds_floats=True)
    yield Paragraph(
        compose_text(
            "Each row of a table ends, in its source, with the ids of its numbers; {provenance} lists for every table "
            "and figure the ids\nin it, and {stats} leads from an id to the predictions that it was computed from.",
            provenance=Code("reports/provenance.json"),
            stats=Code("stats.json"),
        )
    )
    yield from build_provenance_tables(data)
    if any(run["slots"] for run in data.stats["runs"].values()):
        yield Paragraph((SLOTS,))
    yield Paragraph(_footer(data, revision, origin), "footer")


def _footer(data: ReportData, revision: Revision | None, origin: Mapping[str, str]) -> Text:
    parts = [(f"{name} ", Code(value)) for name, value in list_origins(data, revision, origin).items()]
    draft: Text = (" ", Strong(("DRAFT",)), ".") if list_draft_reasons(data, revision) else ()
    return compose_text(
        "Made from: {parts}. Image: a fact of the execution, see {trace} and {folder}.{draft}",
        parts=join_texts(parts),
        trace=Code("latentwire trace"),
        folder=Code("reports/execution/"),
        draft=draft,
    )


def list_origins(data: ReportData, revision: Revision | None, origin: Mapping[str, str]) -> dict[str, str]:
    """Where the numbers come from: code, files, parameters, data, frozen weights and seeds.

    The trained weights stand in the table above it; the image is a fact of the execution (invariant I12).
    """
    code = "unknown" if revision is None else revision.commit[:DIGEST] + ("+changes" if revision.dirty else "")
    stats, name = data.stats, data.display_name
    parts = {"code": code, **{path: digest[:DIGEST] for path, digest in origin.items()}}
    parts["parameters"] = stats["parameters"][:DIGEST]
    parts |= {f"data of {name(task)}": stats["tasks"][task]["data_digest"][:DIGEST] for task in data.tasks}
    parts |= {f"weights of {name(model)}": about["digest"][:DIGEST] for model, about in stats["models"].items()}
    for method in data.trained_methods:
        seeds = len(stats["methods"][method]["seeds"])
        parts[f"seeds of {name(method)}"] = f"{seeds} of {seeds}"
    parts["schema"] = stats["schema"]
    return parts
