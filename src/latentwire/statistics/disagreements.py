"""Texts that a trained method and the reference answer differently: how many of each kind, and one of each to read.

An answer of a trained method, which the reference may be too, counts where all its seeds agree on it; texts on which
they do not are a kind of their own. What is shown is the first text of its kind in the order of the example ids, which
are hashes of the texts: nobody chose it, and it is the same for whoever computes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.evidence import Evidence
from latentwire.statistics.families import comparison_id
from latentwire.statistics.grid import Grid
from latentwire.statistics.measures import gold_numbers
from latentwire.statistics.scores import Scores
from latentwire.statistics.signature import format_signature
from latentwire.tasks.examples import read_examples

ANSWERS = "answers"
"""Stands in ids where a metric would."""
SHOWN = ("only_method", "only_reference")
"""Kinds of which a text is kept: right is the method alone, or the reference alone."""
LETTERS = 110
"""Letters of a text that are kept."""


def disagreement_records(results: Path, evidence: Evidence, grid: Grid, reference: str) -> dict[str, StatsRecord]:
    """For every main method, task and receiver the counts of each kind, and a text of each that is `SHOWN`."""
    records: dict[str, StatsRecord] = {}
    for task in grid.tasks:
        texts = {one.example_id: one.text for one in read_examples(results / "prepare" / task / "examples.parquet")}
        for method in grid.main_methods():
            for receiver in method.models if method.name != reference else ():
                key = comparison_id(task, receiver, method.name, reference, ANSWERS)
                records[key] = _record(evidence, grid, (task, receiver, method.name, reference), texts)
    return records


def _record(evidence: Evidence, grid: Grid, place: tuple[str, str, str, str], texts: Mapping[str, str]) -> StatsRecord:
    task, receiver, method, reference = place
    answers = {name: evidence.answers[task, str(grid.methods[name].model_for(receiver)), name] for name in place[2:]}
    own, other = answers[method], answers[reference]
    golds, agreed = gold_numbers(evidence, grid, task), _seeds_agree(own) & _seeds_agree(other)
    said = np.stack([golds, own.values[0], other.values[0]]).astype(int)
    kinds = dict(_kinds(said, agreed))
    return {
        "task": task,
        "receiver": receiver,
        "a": method,
        "b": reference,
        "counts": {kind: int(rows.sum()) for kind, rows in kinds.items()},
        "samples": {kind: _sample(grid.tasks[task], own, said, kinds[kind], texts) for kind in SHOWN},
        "S": len(own.values),
        "N": len(golds),
        "sources": [*evidence.sources_of(task, method), *evidence.sources_of(task, reference)],
        "signature": format_signature(count="pairs", S=len(own.values), N=len(golds), ids=own.ids[:8]),
    }


def _seeds_agree(answers: Scores) -> NDArray[np.bool_]:
    """On which examples all seeds give one answer."""
    return np.asarray((answers.values == answers.values[0]).all(axis=0))


def _kinds(said: NDArray[np.int_], agreed: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Which texts are of each kind; every text is of one."""
    golds, own, other = said
    yield "both", agreed & (own == golds) & (other == golds)
    yield "only_method", agreed & (own == golds) & (other != golds)
    yield "only_reference", agreed & (own != golds) & (other == golds)
    yield "same_error", agreed & (own != golds) & (own == other)
    yield "neither", agreed & (own != golds) & (other != golds) & (own != other)
    yield "seeds_differ", ~agreed


def _sample(
    labels: tuple[str, ...], scores: Scores, said: NDArray[np.int_], rows: NDArray[np.bool_], texts: Mapping[str, str]
) -> StatsRecord | None:
    """The first of these texts, as excerpt, with its label and both answers; None where there is none."""
    if not rows.any():
        return None
    first = int(np.argmax(rows))
    gold, own, other = (labels[number] for number in said[:, first])
    example = scores.examples[first]
    return {"example_id": example, "text": excerpt(texts[example]), "gold": gold, "method": own, "reference": other}


def excerpt(text: str) -> str:
    """The beginning of a text, up to a blank if there is one in its second half, with a sign where it was cut."""
    if len(text) <= LETTERS:
        return text
    head = text[:LETTERS]
    whole = head.rpartition(" ")[0]
    return (whole if len(whole) > LETTERS // 2 else head) + "…"
