"""The section of the paper that says what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from latentwire.reporting.checklist import DIGEST, list_draft_reasons
from latentwire.reporting.document import Block, Code, Heading, Paragraph, Strong, Table, Text, compose_text, join_texts
from latentwire.reporting.provenance_tables import build_provenance_tables
from latentwire.reporting.report_data import ReportData, Revision

SLOTS = (
    "Slot cosine: between two vectors of a wire, a mean over pairs and over the texts of the last validation; at 1 "
    "they are one vector. Effective rank: how many directions they span (Roy & Vetterli), over the same texts."
)


def describe_provenance(
    data: ReportData, revision: Revision | None, origin: Mapping[str, str], checklist: Table
) -> Iterator[Block]:
    """The section on provenance: the checklist, tables of digests and the footer."""
    yield Heading(2, ("Provenance",), holds_floats=True)
    yield Paragraph(
        compose_text(
            "All numbers, verdicts and lists in this document are computed from stored predictions, one per example.\n"
            "Each row of a table ends, in its source, with the ids of its numbers; {provenance} lists for every table "
            "and figure the ids\nin it, and {stats} leads from an id to the predictions that it was computed from.",
            provenance=Code("reports/provenance.json"),
            stats=Code("stats.json"),
        )
    )
    yield checklist
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
