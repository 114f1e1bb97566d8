"""The sections of the paper that say what was done, and how the numbers were computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from latentwire.reporting.checklist import ADJUSTMENTS
from latentwire.reporting.document import (
    Block,
    Emphasis,
    Figure,
    Heading,
    Math,
    Paragraph,
    Reference,
    Table,
    Text,
    Variable,
    compose_text,
    join_items,
)
from latentwire.reporting.kinds import KINDS, OTHER
from latentwire.reporting.number_format import PERCENT
from latentwire.reporting.report_data import ReportData
from latentwire.reporting.shared_rows import CHECKPOINT, METHOD, merge_sentences

PROMPTS: Text = (
    " and Table\u00a0",
    Reference("tab:prompts"),
    " the prompts; all receivers of a method read the same wire",
)


def describe_method(data: ReportData) -> Iterator[Block]:
    """The way of a text to the answers, in words and as a figure; or in the words of who brought other stages."""
    if not data.has_receivers:
        yield from [Paragraph((data.method,))] if data.method else []
        return
    wires = data.methods_of_kind("wire")
    said = [*([_wire_words(data, wires)] if wires else []), *_other_words(data)]
    yield Paragraph(merge_sentences(*((*words, "\n") for words in said)))
    if wires:
        yield Figure("method", "fig:method", _method_caption(data, wires))


def describe_setup(tables: Mapping[str, Table]) -> Iterator[Block]:
    """What was set, and the prompts."""
    yield Heading(2, ("What was done",))
    yield Paragraph(
        compose_text(
            "{setup} has what was set{prompts}.",
            setup=("Table\u00a0", Reference("tab:setup")),
            prompts=PROMPTS if "prompts" in tables else "",
        )
    )
    yield from (tables[name] for name in ("setup", "prompts") if name in tables)


def _wire_words(data: ReportData, wires: Sequence[str]) -> Text:
    setup = data.stats["setup"]
    return compose_text(
        "A frozen sender, {sender}, reads a text once. In {methods}, a trained encoder turns the sender's "
        "hidden states into a wire, which is all that receivers get of the text: a trained adapter for each receiver "
        "maps it to as many input embeddings, which stand in the prompt where the text would be. The receiver is "
        "frozen and answers with the label whose words it finds likeliest ({figure}).",
        sender=data.display_name(setup["sender"]["name"]),
        methods=join_items([Emphasis((data.display_name(method),)) for method in wires]),
        figure=("Figure\u00a0", Reference("fig:method")),
    )


def _other_words(data: ReportData) -> Iterator[Text]:
    """What is trained where there is no wire, kind by kind."""
    for kind in dict.fromkeys(data.kind_of(method) for method in data.trained_methods):
        if kind != "wire":
            named = join_items([Emphasis((data.display_name(method),)) for method in data.methods_of_kind(kind)])
            yield compose_text(KINDS.get(kind, OTHER).method, methods=named)


def _method_caption(data: ReportData, wires: Sequence[str]) -> Text:
    others = " Other wires differ in their numbers." if len(wires) > 1 else ""
    return compose_text(
        "{method}: the way of a text to the answers. What is trained is coloured.{others}",
        method=Emphasis((data.display_name(wires[0]),)),
        others=others,
    )


def describe_statistics(data: ReportData) -> Iterator[Block]:
    """How the numbers were computed."""
    alpha, retained = f"{data.get_setting('alpha'):g}", data.retained + PERCENT
    yield Heading(2, ("How the numbers were computed",))
    yield Paragraph(
        compose_text(
            "Scores of a trained method form a matrix of seeds by examples; both are random and crossed, because every "
            "seed answers the same {kind}s.\n"
            "The variance of a mean, or of a paired difference, is that of the two-way random-effects analysis of "
            "variance, with Satterthwaite's\n"
            "degrees of freedom; such numbers speak of {method}. With one seed, or none, only examples vary and the "
            "number speaks of\n"
            "{checkpoint}; two single runs are compared by McNemar's exact test. Intervals cover {confidence} and are "
            "not corrected;\n"
            "{p}-values are corrected ({adjustment}) within families over all {places}; every difference is in one of "
            "them.\n"
            "A share of {retained} is called kept if the one-sided test of {kept} rejects at {alpha}.",
            kind=data.example,
            places="tasks and receivers" if data.has_receivers else "tasks",
            method=METHOD,
            checkpoint=CHECKPOINT,
            confidence=data.confidence + PERCENT,
            p=Math((Variable("p"),)),
            adjustment=ADJUSTMENTS[data.get_setting("adjust")],
            retained=retained,
            kept=Math((f"A − {retained} · B",)),
            alpha=Math((f"α = {alpha}",)),
        )
    )
