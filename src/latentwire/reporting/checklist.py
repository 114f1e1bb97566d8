"""The reproducibility checklist: questions of conferences' lists, answered from the statistics."""

from __future__ import annotations

from collections.abc import Iterator

from latentwire.reporting.facts import Facts, Revision
from latentwire.reporting.labels import labels
from latentwire.reporting.numbers import Tex, escape, listed, points

DIGEST = 12
"""Letters of a digest that are printed."""
ELSEWHERE = Tex(
    r"Not in this document, which is the same for every execution: \texttt{latentwire execution} and "
    r"\texttt{latentwire profile} write them to \texttt{reports/execution/}, with the digest of the image if there "
    r"was one."
)
ADJUSTMENTS = {"holm": "Holm", "bh": "Benjamini--Hochberg"}


def answers(facts: Facts, revision: Revision | None) -> Iterator[tuple[Tex, Tex]]:
    """Question and answer, in order."""
    yield Tex("Which code?"), _code(revision)
    yield Tex("Which data, and how many test examples?"), _data(facts)
    yield Tex("Which models, under which licenses?"), _models(facts)
    yield Tex("How many runs, and are all of them reported?"), _runs(facts)
    yield Tex("What do the intervals show?"), _intervals(facts)
    yield Tex("How are several comparisons handled?"), _families(facts)
    yield Tex("How small a difference would have been found?"), _detectable(facts)
    yield Tex("Which margins were set before the results?"), _margins(facts)
    yield Tex("Are there negative results?"), _negative(facts)
    yield Tex("Are there classes without a test example?"), _absent(facts)
    yield Tex("Are predictions and weights kept?"), _kept(facts)
    yield Tex("Can the weights be had again bit for bit?"), _exact(facts)
    yield Tex("Where are hardware, time and costs of the computation?"), ELSEWHERE


def drafts(facts: Facts, revision: Revision | None) -> list[str]:
    """Why this report is a draft; empty when it is none."""
    found = []
    if revision is None:
        found.append("the revision of the code is not known")
    elif revision.dirty:
        found.append("the code differs from its revision")
    sources = facts.stats["sources"].items()
    found += [f"{path} has no digest" for path, source in sources if not source["sha256"] or not source["data_digest"]]
    if not facts.stats["parameters"]:
        found.append("the parameters have no digest")
    found += [f"{key} has no digest" for key, model in facts.stats["models"].items() if not model["digest"]]
    trained = {path for path, source in sources if "/evaluate/" in path and not source["checkpoint"]}
    return found + [f"{path} names no checkpoint" for path in sorted(trained)]


def _code(revision: Revision | None) -> Tex:
    if revision is None:
        return Tex("Not known: the report was not built from a git repository.")
    state = "with changes that are not committed" if revision.dirty else "without uncommitted changes"
    return Tex(rf"Revision \texttt{{{revision.commit[:DIGEST]}}}, {state}.")


def _data(facts: Facts) -> Tex:
    parts = []
    for task in facts.tasks:
        about = facts.stats["tasks"][task]
        parts.append(rf"{escape(facts.name(task))}: {about['n']} (\texttt{{{about['data_digest'][:DIGEST]}}})")
    return Tex("; ".join(parts) + ".")


def _models(facts: Facts) -> Tex:
    parts = [
        f"{escape(facts.name(key))}: {escape(about['license'] or 'license not stated')}"
        for key, about in facts.stats["models"].items()
    ]
    return Tex("; ".join(parts) + ".")


def _runs(facts: Facts) -> Tex:
    parts = []
    for method in facts.trained():
        seeds = facts.stats["methods"][method]["seeds"]
        found = {len(c["per_seed"]) for c in facts.stats["cells"].values() if c["method"] == method}
        counted = ", ".join(map(str, sorted(found)))
        parts.append(f"{escape(facts.name(method))}: {counted} of {len(seeds)} seeds ({', '.join(map(str, seeds))})")
    return Tex("; ".join(parts) + " in every cell; baselines have no seed.")


def _intervals(facts: Facts) -> Tex:
    level = f"{100 * facts.setting('confidence'):g}"
    return Tex(
        rf"{level}\,\% intervals of a two-way random-effects analysis over seeds and examples (examples alone "
        "where there is one run), each with its signature. Draws of bootstraps and sign flips: "
        f"{facts.setting('resamples')}, generator seed {facts.setting('seed')}."
    )


def _families(facts: Facts) -> Tex:
    name = ADJUSTMENTS[facts.setting("adjust")]
    sizes = [
        f"{family['m']} {escape(key.replace('_', ' '))}" for key, family in sorted(facts.stats["families"].items())
    ]
    return Tex(f"{name} within families declared before the results: {listed(sizes)}.")


def _detectable(facts: Facts) -> Tex:
    found = [r["mde"] for r in facts.family("versus_baselines") if r["verdict"] == "not different" and r["mde"]]
    if not found:
        return Tex("No difference of a trained method from a baseline was left open.")
    return Tex(
        rf"Of {len(found)} differences that were left open, true ones of {points(min(found))} to {points(max(found))} "
        r"points with 80\,\% power; each stands beside its difference."
    )


def _exact(facts: Facts) -> Tex:
    found = labels(facts)
    if found:
        return Tex(" ".join(found))
    return Tex(
        "Yes, by any number of processes on the same architecture and software: all "
        f"{len(facts.stats['runs'])} runs are in exact mode, and none changed its numerics."
    )


def _margins(facts: Facts) -> Tex:
    return Tex(
        rf"Non-inferior: keeps {100 * facts.setting('retained'):g}\,\% of the reference. "
        rf"Equivalent: within $\pm${points(facts.setting('margin'))} points. Level {facts.setting('alpha'):g}."
    )


def _negative(facts: Facts) -> Tex:
    found = [record["verdict"] for record in facts.family("versus_baselines")]
    return Tex(
        f"Of {len(found)} differences of trained methods from baselines, {found.count('worse')} are in favour of "
        f"the baseline and {found.count('not different')} were not shown to be differences."
    )


def _absent(facts: Facts) -> Tex:
    found = {task: facts.stats["tasks"][task]["absent"] for task in facts.tasks}
    parts = [f"{escape(facts.name(task))}: {listed(labels)}" for task, labels in found.items() if labels]
    return Tex("; ".join(parts) + "." if parts else "No.")


def _kept(facts: Facts) -> Tex:
    sources = facts.stats["sources"].values()
    weights = [source for source in sources if source["checkpoint"]]
    return Tex(
        f"Yes: {len(sources)} files of predictions, one row per example, and {len(weights)} sets of weights, by digest."
    )
