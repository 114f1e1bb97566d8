"""The reproducibility checklist: questions of conferences' lists, answered from the statistics."""

from __future__ import annotations

from collections.abc import Iterator

from latentwire.reporting.caveats import list_caveats
from latentwire.reporting.document import Code, Text, compose_text, join_items, join_texts, plain_text
from latentwire.reporting.number_format import PERCENT, count_of, format_points
from latentwire.reporting.report_data import OPEN_VERDICTS, ReportData, Revision

DIGEST = 12
"""Letters of a digest that are printed."""
ADJUSTMENTS = {"holm": "Holm", "bh": "Benjamini–Hochberg"}


def answer_checklist(data: ReportData, revision: Revision | None) -> Iterator[tuple[str, Text]]:
    """Question and answer, in order."""
    yield "Which code?", _answer_code(revision)
    yield "Which data, and how many test examples?", _answer_data(data)
    if data.stats["models"]:
        yield "Which models, under which licenses?", (_answer_models(data),)
    yield "How many runs, and are all of them reported?", (_answer_runs(data),)
    yield "What do the intervals show?", (_answer_intervals(data),)
    yield "How are several comparisons handled?", (_answer_families(data),)
    yield "How small a difference would have been found?", (_answer_detectable(data),)
    yield "Which margins were set before the results?", (_answer_margins(data),)
    yield "Are there negative results?", (_answer_negative(data),)
    yield "Are there classes without a test example?", (_answer_absent(data),)
    yield "Are predictions and weights kept?", (_answer_kept(data),)
    yield "Can the weights be reproduced bit for bit?", (_answer_exact(data),)
    yield "Where are hardware, time and costs of the computation?", _answer_execution(data)


def list_draft_reasons(data: ReportData, revision: Revision | None) -> list[str]:
    """Why this report is a draft; empty when it is none."""
    reasons = []
    if revision is None:
        reasons.append("the revision of the code is not known")
    elif revision.dirty:
        reasons.append("the code differs from its revision")
    sources = data.stats["sources"].items()
    reasons += [
        f"{path} has no digest" for path, source in sources if not source["sha256"] or not source["data_digest"]
    ]
    if not data.stats["parameters"]:
        reasons.append("the parameters have no digest")
    reasons += [f"{key} has no digest" for key, model in data.stats["models"].items() if not model["digest"]]
    trained = {path for path, source in sources if "/evaluate/" in path and not source["checkpoint"]}
    return reasons + [f"{path} names no checkpoint" for path in sorted(trained)]


def _answer_code(revision: Revision | None) -> Text:
    if revision is None:
        return ("Not known: where the report was built, git named no revision.",)
    state = "with changes that are not committed" if revision.dirty else "without uncommitted changes"
    return compose_text("Revision {commit}, {state}.", commit=Code(revision.commit[:DIGEST]), state=state)


def _answer_data(data: ReportData) -> Text:
    parts = []
    for task in data.tasks:
        about = data.stats["tasks"][task]
        digest = Code(about["data_digest"][:DIGEST])
        parts.append(compose_text("{task}: {n} ({digest})", task=data.display_name(task), n=about["n"], digest=digest))
    return (*join_texts(parts), ".")


def _answer_models(data: ReportData) -> str:
    models = data.stats["models"].items()
    parts = [f"{data.display_name(key)}: {about['license'] or 'license not stated'}" for key, about in models]
    return "; ".join(parts) + "."


def _answer_runs(data: ReportData) -> str:
    parts = []
    for method in data.trained_methods:
        seeds = data.stats["methods"][method]["seeds"]
        counts = {len(c["per_seed"]) for c in data.stats["cells"].values() if c["method"] == method}
        counted = ", ".join(map(str, sorted(counts)))
        parts.append(
            f"{data.display_name(method)}: {counted} of {count_of(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
        )
    return "; ".join(parts) + " in every cell; baselines have no seed."


def _answer_intervals(data: ReportData) -> str:
    return (
        f"{data.confidence}{PERCENT} intervals of a two-way random-effects analysis over seeds and examples (examples "
        "alone where there is one run), each with its signature. Draws of bootstraps and sign flips: "
        f"{data.get_setting('resamples')}, generator seed {data.get_setting('seed')}."
    )


def _answer_families(data: ReportData) -> str:
    name = ADJUSTMENTS[data.get_setting("adjust")]
    sizes = [f"{family['m']} {key.replace('_', ' ')}" for key, family in sorted(data.stats["families"].items())]
    return f"{name} within families declared before the results: {plain_text(join_items(sizes))}."


def _answer_detectable(data: ReportData) -> str:
    sizes = [r["mde"] for r in data.get_contests() if r["verdict"] in OPEN_VERDICTS and r["mde"]]
    if not sizes:
        return f"No difference of a trained method from {_other(data)} was left open."
    return (
        f"Of {count_of(len(sizes), 'difference')} left open, true ones of {format_points(min(sizes))} to "
        f"{format_points(max(sizes))} points with 80{PERCENT} power; each stands beside its difference."
    )


def _answer_margins(data: ReportData) -> str:
    return (
        f"Non-inferior: keeps {data.retained}{PERCENT} of the reference. "
        f"Equivalent: within ±{format_points(data.get_setting('margin'))} points. "
        f"Level {data.get_setting('alpha'):g}."
    )


def _answer_negative(data: ReportData) -> str:
    verdicts = [record["verdict"] for record in data.get_contests()]
    still_open = sum(verdict in OPEN_VERDICTS for verdict in verdicts)
    others, other = ("baselines", "the baseline") if data.has_receivers else ("other methods", "the other")
    of_them = count_of(len(verdicts), "difference")
    return (
        f"Of {of_them} of trained methods from {others}, {verdicts.count('worse')} in favour of {other}, and "
        f"{still_open} not shown to be a difference."
    )


def _other(data: ReportData) -> str:
    return "a baseline" if data.has_receivers else "another method"


def _answer_absent(data: ReportData) -> str:
    absent = {task: data.stats["tasks"][task]["absent"] for task in data.tasks}
    parts = [
        f"{data.display_name(task)}: {plain_text(join_items(labels))}" for task, labels in absent.items() if labels
    ]
    return "; ".join(parts) + "." if parts else "No."


def _answer_kept(data: ReportData) -> str:
    sources = data.stats["sources"].values()
    weights = [source for source in sources if source["checkpoint"]]
    return (
        f"Yes: {count_of(len(sources), 'file')} of predictions, one row per example, and "
        f"{count_of(len(weights), 'set')} of weights, by digest."
    )


def _answer_exact(data: ReportData) -> str:
    caveats = list_caveats(data)
    if caveats:
        return " ".join(caveats)
    how = "by any number of processes " if data.has_receivers else ""
    return (
        f"Yes, {how}on {_exact_where(data)} and the same software: all "
        f"{len(data.stats['runs'])} runs are in exact mode, and none changed its numerics."
    )


def _exact_where(data: ReportData) -> str:
    portable = all(run.get("numerics") == "portable" for run in data.stats["runs"].values())
    return "any x86-64 processor with AVX2" if portable else "the same architecture"


def _answer_execution(data: ReportData) -> Text:
    profile: Text = (" and ", Code("latentwire profile"), " write them") if data.has_receivers else (" writes them",)
    return compose_text(
        "Not in this document, which is the same for every execution: {execution}{profile} to "
        "{folder}, with the digest of the image if there was one.",
        execution=Code("latentwire execution"),
        profile=profile,
        folder=Code("reports/execution/"),
    )
