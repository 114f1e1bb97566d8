"""What the report is made from: statistics, learning curves, and the names under which things are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.errors import EvidenceError

SCHEMA = "latentwire-stats/9"
Record = dict[str, Any]


@dataclass(frozen=True)
class Revision:
    """The code that the report was made with, as its caller knows it."""

    commit: str
    dirty: bool
    """Files differ from that commit."""
    tree: str | None = None
    """64 hex over what the files of the code do, comments left out: another commit with the same is no other code."""


NO_MODEL = "none"
"""Stands in ids where no model answers."""
OPEN_VERDICTS = ("not different", "not after correction")
"""Verdicts of comparisons in which no difference was shown."""
METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "own_metrics": "score",
}
"""How metrics are called; a mean over tasks with different ones is one of scores."""
METRIC_HEADS = {"accuracy": "Acc.", "macro_f1": "F1", "balanced_accuracy": "Bal. acc.", "own_metrics": "Score"}
"""The same at the head of a column."""
DEFAULT_NAMES = {
    "text": "Text (zero-shot)",
    "calibrated": "Text (calibrated)",
    "truncated": "Text (truncated)",
    "few_shot": "Text (few-shot)",
    "readout": "Text + logistic layer",
    "probe": "Linear probe",
    "majority": "Majority class",
    "none": "no model",
}


@dataclass(frozen=True)
class ReportData:
    """`stats.json` and `curves.csv` with access by id; nothing is computed from predictions here."""

    stats: Record
    curves: pd.DataFrame
    names: Mapping[str, str]
    method: str = ""
    """What was done, in the words of whoever has stages of their own."""

    def display_name(self, key: str) -> str:
        """Printed name of a method, model or task; its key where none was given."""
        method = self.stats["methods"].get(key)
        if method is not None and method["control_of"] is not None and key not in self.names:
            return f"{self.display_name(method['control_of'])} ({key.removeprefix(method['control_of'] + '-')})"
        if method is not None and method["probe_of"] is not None and key not in self.names:
            return f"Probe on {self.display_name(method['probe_of'])}"
        owner = self.quantised_of(key)
        if owner is not None and key not in self.names:
            return f"{self.display_name(owner)} ({key.removeprefix(owner + '-')})"
        return self.names.get(key) or DEFAULT_NAMES.get(key, key)

    def drawn_name(self, key: str) -> str:
        """Printed name as matplotlib takes it, which reads `$` as a formula and leaves `_name` out of legends."""
        name = self.display_name(key).replace("$", r"\$")
        return f"\u200b{name}" if name.startswith("_") else name

    @property
    def given_words(self) -> tuple[str, ...]:
        """All that users, data and models call their own: names, keys, classes, families and licenses."""
        tasks, models = self.stats["tasks"], self.stats["models"]
        keys = [*self.stats["methods"], *tasks, *models]
        classes = [label for task in tasks.values() for label in (*task["absent"], *task["counts"])]
        words = [word for record in self.stats["unseen"].values() for word in record["words"].values()]
        stated = [about[fact] for about in models.values() for fact in ("family", "license") if about[fact]]
        return tuple(dict.fromkeys([*map(self.display_name, keys), *keys, *classes, *words, *stated]))

    def get_cell(self, key: str) -> Record:
        """A metric of a cell by id."""
        return dict(self.stats["cells"][key])

    @property
    def metrics(self) -> list[str]:
        """All metrics by which cells are scored."""
        return list(dict.fromkeys(cell["metric"] for cell in self.stats["cells"].values()))

    def metric_of(self, task: str) -> str:
        """The metric by which the methods are judged on a task."""
        return str(self.stats["settings"]["metrics"][task])

    def cell_id(self, task: str, model: str, method: str, metric: str | None = None) -> str:
        """Id of a cell, by the metric of its task unless another one is named."""
        return f"{task}/{model}/{method}/{metric or self.metric_of(task)}"

    def same_cell(self, key: str, metric: str) -> str:
        """Id of a cell by another metric, or of its `ece` or `classes`."""
        cell = self.get_cell(key)
        return self.cell_id(cell["task"], cell["model"], cell["method"], metric)

    def get_average(self, key: str) -> Record:
        """Mean over the tasks by id."""
        return dict(self.stats["averages"][key])

    def get_comparison(self, key: str) -> Record:
        """Difference by id."""
        return dict(self.stats["comparisons"][key])

    def get_setting(self, key: str) -> Any:
        """One of the settings under which the statistics were computed."""
        return self.stats["settings"][key]

    def get_block(self, task: str, receiver: str) -> Record:
        """The rows of one task and receiver."""
        return dict(next(b for b in self.stats["blocks"] if (b["task"], b["receiver"]) == (task, receiver)))

    def get_family(self, name: str) -> list[Record]:
        """Differences of a family in their order, each with `id`, adjusted p, verdict and signature."""
        members = self.stats["families"].get(name, {"members": ()})["members"]
        return [self._corrected(key) for key in members]

    def get_excesses(self, section: str) -> list[Record]:
        """All `controls`, or sets of `unseen` words, each with `id`, adjusted p, verdict and signature."""
        records, members = self.stats[section], self.stats["families"].get(section, {"members": ()})["members"]
        return [{**records[key], **_adjusted(records[key]), "id": key} for key in members]

    def get_contests(self) -> list[Record]:
        """The differences that a report is about: of trained methods from baselines; without receivers, where a trained
        method may be the reference, all that are not from chance."""
        others = () if self.has_receivers else ("versus_reference", "ablations")
        return [record for name in ("versus_baselines", *others) for record in self.get_family(name)]

    def reference_differences(self) -> list[Record]:
        """Differences from the reference on single tasks, as `get_family` has them, whichever family declares them."""
        rows = [row["versus_reference"] for block in self.stats["blocks"] for row in block["rows"]]
        return [self._corrected(key) for key in dict.fromkeys(rows) if key]

    def _corrected(self, key: str) -> Record:
        return {**self.get_comparison(key), **self.get_adjusted(key), "id": key}

    def get_adjusted(self, key: str) -> Record:
        """Adjusted p (`p_adjusted`), `verdict`, `mde` and `signature` of a difference, from the family that has it."""
        return _adjusted(self.stats["comparisons"][key])

    @property
    def has_receivers(self) -> bool:
        """Whether models answer, so that a method has answers of each; otherwise methods answer by themselves."""
        return self.receivers != [NO_MODEL]

    @property
    def example(self) -> str:
        """What methods answer: the experiment of texts and receivers says so, another one need not have texts."""
        return "text" if self.has_receivers else "example"

    @property
    def has_costs(self) -> bool:
        """Whether some methods that read anything are given more bytes of an example than others."""
        read = {cell["bytes_per_example"] for cell in self.stats["cells"].values()} - {0.0}
        return self.has_receivers or len(read) > 1

    def place_name(self, record: Record) -> str:
        """Task and receiver of a block or difference; the task alone where there are no receivers."""
        task = self.display_name(record["task"])
        return f"{task}, {self.display_name(record['receiver'])}" if self.has_receivers else task

    def place_title(self, record: Record) -> str:
        """The same at the head of a group of rows."""
        task = self.display_name(record["task"])
        return f"{task}: {self.display_name(record['receiver'])}" if self.has_receivers else task

    def drawn_place(self, task: str, receiver: str, between: str = ": ") -> str:
        """The same over a panel of a figure, with a sign `between` the two."""
        name = self.drawn_name(task)
        return f"{name}{between}{self.drawn_name(receiver)}" if self.has_receivers else name

    @property
    def tasks(self) -> list[str]:
        return list(self.stats["order"]["tasks"])

    @property
    def receivers(self) -> list[str]:
        return list(self.stats["order"]["receivers"])

    @property
    def methods(self) -> list[str]:
        """All methods in the order of the tables."""
        return list(self.stats["order"]["methods"])

    @property
    def trained_methods(self) -> list[str]:
        """Trained methods without controls, probes and wires at fewer bits."""
        about = self.stats["methods"]
        own = [key for key in self.methods if about[key]["trained"] and not self.control_of(key)]
        return [key for key in own if about[key]["probe_of"] is None and self.quantised_of(key) is None]

    def kind_of(self, method: str) -> str:
        """What kind of method a trained one is, as params.yaml says it."""
        return str(self.stats["setup"]["methods"][method]["kind"])

    def methods_of_kind(self, kind: str) -> list[str]:
        """The trained methods of a kind; none in an experiment with stages of its own."""
        return [key for key in self.trained_methods if self.has_receivers and self.kind_of(key) == kind]

    @property
    def main_methods(self) -> list[str]:
        """Trained methods that the text is about: no ablations."""
        return [key for key in self.trained_methods if not self.stats["methods"][key]["ablation"]]

    @property
    def baseline_methods(self) -> list[str]:
        """Methods without seeds."""
        return [key for key in self.methods if not self.stats["methods"][key]["trained"]]

    @property
    def control_methods(self) -> list[str]:
        """Controls of trained methods."""
        return [key for key in self.methods if self.control_of(key)]

    def control_of(self, method: str) -> str | None:
        """The trained method that a control belongs to; None for anything else."""
        owner: str | None = self.stats["methods"][method]["control_of"]
        return owner

    def quantised_of(self, method: str) -> str | None:
        """The trained method whose wires it reads at fewer bits; None for anything else."""
        owner: str | None = self.stats["methods"].get(method, {}).get("quantised_of")
        return owner

    @property
    def has_quantised(self) -> bool:
        """Whether wires are read at fewer bits, too."""
        return any(self.quantised_of(method) for method in self.methods)

    @property
    def has_several_seeds(self) -> bool:
        """Some method was trained with more than one seed."""
        return any(len(self.stats["methods"][key]["seeds"]) > 1 for key in self.trained_methods)

    @property
    def confidence(self) -> str:
        """The level of all intervals in percent, as it is printed."""
        return f"{100 * self.get_setting('confidence'):g}"

    @property
    def retained(self) -> str:
        """The share of the reference that counts as kept, in percent, as it is printed."""
        return f"{100 * self.get_setting('retained'):g}"

    @property
    def reference_name(self) -> str:
        """The method from which differences are taken."""
        return self.display_name(self.get_setting("reference"))


def score_name(data: ReportData) -> str:
    """What a number on any of the tasks is: the metric that all are judged by, or a score."""
    return METRIC_NAMES[data.get_setting("metric_of_mean")]


def score_label(data: ReportData, task: str) -> str:
    """The label of an axis with scores on one task."""
    return f"{METRIC_NAMES[data.metric_of(task)]} (%)"


def _adjusted(record: Record) -> Record:
    adjusted = record["adjusted"]
    return {"p_adjusted": adjusted["p"], **{name: adjusted[name] for name in ("verdict", "mde", "signature")}}


def read_report_data(folder: Path, names: Mapping[str, str], method: str = "") -> ReportData:
    """Read `stats.json` and `curves.csv` of `results/aggregate/`.

    Raises:
        EvidenceError: A file is missing or was written by another version.
    """
    stats = read_statistics(folder)
    return ReportData(stats, pd.read_csv(_find(folder / "curves.csv")), dict(names), method)


def read_statistics(folder: Path) -> Record:
    """Read `stats.json` of `results/aggregate/`.

    Raises:
        EvidenceError: It is missing or was written by another version.
    """
    stats: Record = json.loads(_find(folder / "stats.json").read_text(encoding="utf-8"))
    if stats.get("schema") != SCHEMA:
        raise EvidenceError(
            f"{folder / 'stats.json'} has the schema {stats.get('schema')!r}, expected {SCHEMA!r}. "
            "Next: `dvc repro aggregate`."
        )
    return stats


def _find(path: Path) -> Path:
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected the statistics. Next: `dvc repro aggregate`.")
    return path
