"""Published statistics and those here: what contradicts, what cannot be judged, which claims changed, by id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from latentwire.verification.agreement import (
    Disagreement,
    Trial,
    compare_spreads,
    compare_values,
    judge_numbers,
)
from latentwire.verification.changed_claims import ChangedClaim, changed_claims
from latentwire.verification.differences import format_leaf, json_differences, nearly_equal
from latentwire.verification.fixed_facts import unequal_facts
from latentwire.verification.rows import ResultRow, Status
from latentwire.verification.run_noise import Measured, measure_entry

Stats = Mapping[str, Any]
SPREAD = " (seeds)"
"""Behind the id of a number: the test of how far its seeds spread."""
Both = tuple[Measured, Measured]
"""A number as it was published, and as it is here."""
Paired = Callable[[Mapping[str, Any]], Trial | Disagreement | None]
"""What the answers of a cell say; None where the published ones are not here."""


@dataclass(frozen=True)
class Judgement:
    """What was found, by the id of a number; an empty id stands for the statistics as a whole."""

    disagreements: Mapping[str, list[Disagreement]]
    claims: list[ChangedClaim]
    parts: Mapping[str, list[str]] = field(default_factory=dict)
    """Id of a difference, a mean or a rank → ids of the numbers that it is made of."""

    def about(self, ids: Iterable[str] | None) -> tuple[Status, str]:
        """Status of a file or stage that shows the numbers with these ids (all for None), and the first reason."""
        wanted = None if ids is None else {part for key in ids for part in (key, *self.parts.get(key, ()))}
        found = [(key, one) for key, listed in self.disagreements.items() for one in listed if _has(wanted, key)]
        against = [f"{key}: {one.said}" if key else one.said for key, one in found if one.judged]
        against += [f"{claim.id}: {claim.said}" for claim in self.claims if claim.opposite and _has(wanted, claim.id)]
        unknown = [f"{key}: {one.said}" for key, one in found if not one.judged]
        if against:
            return Status.CONTRADICTED, against[0]
        return (Status.NOT_VERIFIABLE, unknown[0]) if unknown else (Status.COMPATIBLE, "")

    def rows(self) -> Iterator[ResultRow]:
        """A row for every number that does not agree, and for every claim that is another one here."""
        for key, listed in self.disagreements.items():
            for one in listed:
                status = Status.CONTRADICTED if one.judged else Status.NOT_VERIFIABLE
                yield ResultRow("number", key or "statistics", status, one.said)
        for claim in self.claims:
            yield ResultRow("claim", claim.id, Status.CONTRADICTED if claim.opposite else Status.COMPATIBLE, claim.said)


def judge_statistics(published: Stats, here: Stats, metrics: Mapping[str, Both], paired: Paired) -> Judgement:
    """Compare two versions of `stats.json` by the rule of `agreement.py`.

    Args:
        published: As it was published.
        here: As the predictions here yield it.
        metrics: Numbers of the trainings, which are tested with those of the statistics.
        paired: What the answers of a cell say where nothing was trained; None where the published ones are not here.
    """
    if published.get("schema") != here["schema"]:
        said = f"the published statistics are in the form {published.get('schema')}, those here in {here['schema']}"
        return Judgement({"": [Disagreement(f"{said}: they cannot be compared", judged=False)]}, [])
    tests = dict(_tests_of_metrics(metrics)) | dict(_tests(published, here, paired))
    found: dict[str, list[Disagreement]] = {}
    for key, said in unequal_facts(published, here):
        found.setdefault(key, []).append(Disagreement(said, True))
    trials = {key: test for key, test in tests.items() if isinstance(test, Trial)}
    unjudged = {key: test for key, test in tests.items() if isinstance(test, Disagreement)}
    for key, one in (*judge_numbers(trials).items(), *unjudged.items()):
        found.setdefault(key.removesuffix(SPREAD), []).append(one)
    return Judgement(found, list(changed_claims(published, here)), _parts(here))


def ids_fed_by(stats: Stats, folders: Iterable[str]) -> list[str]:
    """Ids of the numbers and trainings that are computed from predictions in these folders."""
    under = tuple(f"{folder}/" for folder in folders)
    entries = {**stats["cells"], **stats["calibration"], **stats["unseen"], **stats["runs"]}
    return [key for key, entry in entries.items() if any(path.startswith(under) for path in entry["sources"])]


def _has(wanted: set[str] | None, key: str) -> bool:
    return wanted is None or not key or key in wanted


def _tests(published: Stats, here: Stats, paired: Paired) -> Iterator[tuple[str, Trial | Disagreement | None]]:
    confidence = here["settings"]["confidence"]
    for key, entry in _numbers(here):
        was = published[entry["section"]].get(key)
        if was is None or not _comparable(was, entry):
            continue
        if not _changed(entry["sources"], published, here):
            yield key, _compare_recomputed(was, entry)
            continue
        trained = bool(here["methods"][entry["method"]]["trained"])
        both = measure_entry(was, trained, confidence), measure_entry(entry, trained, confidence)
        exact = paired(entry) if not trained and entry.get("metric") == "accuracy" else None
        yield key, exact or compare_values(*both)
        yield f"{key}{SPREAD}", compare_spreads(*both)


def _tests_of_metrics(metrics: Mapping[str, Both]) -> Iterator[tuple[str, Trial | Disagreement | None]]:
    for key, both in metrics.items():
        yield key, compare_values(*both)
        yield f"{key}{SPREAD}", compare_spreads(*both)


def _numbers(stats: Stats) -> Iterator[tuple[str, dict[str, Any]]]:
    """The numbers that are not made of other numbers."""
    for section in ("cells", "calibration", "unseen"):
        for key, entry in stats[section].items():
            yield key, {**entry, "section": section}


def _comparable(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether both are over the same seeds and examples; where not, that is a contradiction of its own."""
    return "value" in was and all(was.get(key) == now[key] for key in ("S", "N", "sources"))


def _compare_recomputed(was: Mapping[str, Any], now: Mapping[str, Any]) -> Disagreement | None:
    """The same answers leave nothing to chance."""
    for path, before, after in json_differences(was, {key: now[key] for key in now if key != "section"}):
        if not nearly_equal(before, after):
            said = f"{path} is {format_leaf(after)}, published {format_leaf(before)} from the same answers"
            return Disagreement(said, judged=True)
    return None


def _changed(sources: list[str], published: Stats, here: Stats) -> bool:
    """Whether any of the predictions are other bytes."""
    before, after = (stats["sources"] for stats in (published, here))
    return any(before.get(path, {}).get("sha256") != after[path]["sha256"] for path in sources)


def _parts(stats: Stats) -> dict[str, list[str]]:
    sections = (stats["averages"], stats["comparisons"], stats["controls"])
    made = {key: _cells_of(stats, entry) for section in sections for key, entry in section.items()}
    for block in stats["blocks"]:
        made[f"{block['task']}/{block['receiver']}/ranks"] = [row["cell"] for row in block["rows"]]
    return made


def _cells_of(stats: Stats, entry: Mapping[str, Any]) -> list[str]:
    names = {entry["method"]} if "method" in entry else {entry["a"], entry["b"]}
    model = entry.get("model", entry.get("receiver"))
    return [
        key
        for key, cell in stats["cells"].items()
        if cell["method"] in names
        and cell["task"] == entry.get("task", cell["task"])
        and (cell["model"] == model or not stats["methods"][cell["method"]]["reads_receiver"])
    ]
