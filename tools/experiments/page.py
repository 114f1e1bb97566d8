"""docs/experiments.md, written from what is stored of the experiments and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from latentwire.params.load import load_params
from latentwire.reporting.number_format import MISSING, format_decimal, format_points, format_signed
from latentwire.statistics.metrics import ACCURACY
from tools.experiments.comparison import Difference, Results
from tools.experiments.plan import DEFAULT, Plan
from tools.experiments.stored import PROBE, SCALED

PAGE = Path("docs/experiments.md")
GOAL = 0.02
"""Points of accuracy by which a receiver may stay below the probe on its wire."""
METRICS = {ACCURACY: "accuracy", "macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy"}

BEGIN = """# Experiments: what the receivers lose of the wire

A logistic layer on the numbers of a trained wire, the *probe on the wire*, answers better than the receivers that the
wire was trained for: they lose something that it holds. This page says what was tried against that, also what did not
help. `make experiments` writes it from `experiments/results/`, a test compares the two, and no number here is typed.

Every experiment is in `experiments/experiments.yaml`: values that replace those of `params.yaml`. Each is trained with
the real stages, by `dvc exp run -S KEY=VALUE train@ITEM` in a clone below `.cache/experiments`, on one process; there,
`dvc exp show` lists them. Not with `--temp`: a training that is stopped in a temporary copy is gone with it, and in the
clone it goes on from its checkpoint when the command is given again. Not by `dvc repro`, which takes no parameters and
keeps no record of what was tried. A stored result is not computed again unless its values change.

Only validation texts decide. Of the test split the tool opens nothing, and nothing on this page is a result of the
method. Many experiments are compared on the same texts, so luck flatters the best of them. A difference Δ is from the
default on the same texts, seed and code, with half of its 95 % interval. The interval is about the texts: with one seed
it says nothing of what another training would do.
"""
GOALS = """
The goal is a receiver that is below the probe on its wire by no more than {points} points of accuracy, and not below a
logistic layer on its own label scores for the text, which has the same labelled examples. Shown are the default and, of
the others, the one whose receivers gain most on the task. *Its scores + logistic layer* says where the loss is: the
layer gets nothing but the receiver's label scores after the wire (cross-validated). What it regains was read, and only
said with the labels out of proportion; what is missing even then, the receiver did not read.

"""
TASK = """
In percent and points, on {texts} validation texts; judged by {metric}, and sorted by the mean gain in it. CPU seconds
are of the whole command, a dash where it was stopped and went on.

"""
WITHOUT_WIRE = """
Without a wire, on the same texts; what learns has the {labelled:,} labelled examples of the default.

"""
RULE = """
The rule: an experiment may become the default if, for every task and receiver, neither the task's own score
(`aggregate.metrics`) nor accuracy is below that of the default; among those, the one with the largest mean gain in the
tasks' own scores. Nothing becomes the default by itself: that is an edit of `params.yaml`, after which every published
number is computed again.
"""


def write_page(root: Path, plan: Plan) -> str:
    """The page for the results that the checkout at `root` has stored."""
    values = load_params(root / "params.yaml")
    writer = _Writer(Results.read(root, plan, values), values.report.names)
    return BEGIN + "".join(part for part in writer.parts())


class _Writer:
    """The parts of the page in their order."""

    def __init__(self, results: Results, names: dict[str, str]) -> None:
        self._results, self._names, self._plan = results, names, results.plan

    def parts(self) -> Iterator[str]:
        """Markdown, each part with a heading."""
        yield "\n## How far the receivers are from the goal\n" + self._goals()
        for task in self._plan.tasks:
            yield f"\n## {self._name(task)}\n" + self._task(task)
        yield "\n## What would be chosen\n" + RULE + self._choice()
        yield "\n## What was asked\n\n" + self._questions()

    def _name(self, key: str) -> str:
        return self._names.get(key, key)

    def _goals(self) -> str:
        """What the default and the best of the others lose of the wire, and against text with the same labels."""
        shown = [(task, name) for task in self._plan.tasks for name in (DEFAULT, *self._by_gain(task)[:1])]
        rows = [
            self._goal(name, *cell) for task, name in shown for cell in self._results.cells(name) if cell[0] == task
        ]
        head = ["task", "experiment", "receiver", "accuracy", "its scores + logistic layer", "probe on the wire"]
        head += ["above the probe", "in the task's own score", "above text + logistic layer", "reached"]
        return GOALS.format(points=format_points(GOAL, 0)) + _table(head, rows, numbers=3, words_after=1)

    def _goal(self, experiment: str, task: str, receiver: str) -> list[str]:
        gap, text = (f(experiment, task, receiver) for f in (self._results.gap, self._results.above_text))
        row = [self._name(task), experiment, self._name(receiver)]
        scores = [self._points(experiment, task, who) for who in (receiver, f"{SCALED}/{receiver}", PROBE)]
        return [*row, *scores, _accuracy(gap), _score(gap), _accuracy(text), _reached(gap, text)]

    def _task(self, task: str) -> str:
        if not self._results.of(DEFAULT, task):
            return "\nNothing to compare with: the default is not run yet.\n"
        metric, known = self._results.metrics[task], self._results.references.get(task)
        receivers = [who for its, who in self._results.cells(DEFAULT) if its == task]
        told = [ACCURACY, *([metric] if metric != ACCURACY else [])]
        names = [f"{self._name(who)} {METRICS[m]}" for who in receivers for m in told]
        head = ["experiment", *(part for name in names for part in (name, "Δ"))]
        rows = [
            self._row(e, task, receivers, told) for e in (DEFAULT, *self._by_gain(task)) if self._results.of(e, task)
        ]
        texts = max(len(stored.facts["golds"]) for stored in self._results.of(DEFAULT, task).values())
        before = TASK.format(texts=texts, metric=METRICS[metric])
        table = _table([*head, "probe on the wire", "seeds", "steps", "trained numbers", "CPU s"], rows, numbers=1)
        return before + table + (self._without_wire(task, told) if known else "")

    def _row(self, experiment: str, task: str, receivers: Sequence[str], told: Sequence[str]) -> list[str]:
        cells = []
        for who in receivers:
            difference = None if experiment == DEFAULT else self._results.difference(experiment, task, who)
            for metric in told:
                change = _accuracy(difference) if metric == ACCURACY else _score(difference)
                cells += [format_points(self._results.score(experiment, task, who, metric)), change]
        own = list(self._results.of(experiment, task).values())
        facts = own[0].facts
        took = [s.facts["cpu_s"] for s in own if s.facts["cpu_s"] is not None]
        probe = format_points(self._results.score(experiment, task, PROBE, ACCURACY))
        sizes = [str(len(own)), str(facts["params"]["train"]["steps"]), f"{facts['trained_numbers']:,}"]
        return [experiment, *cells, probe, *sizes, format_decimal(fmean(took) if took else None, 0)]

    def _without_wire(self, task: str, told: Sequence[str]) -> str:
        known = self._results.references[task]
        rows = []
        for who in known.facts["answers"]:
            method, _, receiver = who.partition("/")
            scores = [format_points(known.answers(who).score(metric)) for metric in told]
            rows.append([self._name(method), self._name(receiver) if receiver else MISSING, *scores])
        table = _table(["what", "receiver", *(METRICS[metric] for metric in told)], rows, numbers=2)
        return WITHOUT_WIRE.format(labelled=known.facts["labelled"]) + table

    def _choice(self) -> str:
        ranked = self._results.ranked()
        missing = [n for n in self._plan.experiments if any(not self._results.of(n, t) for t in self._tasks(n))]
        said = [f"\nNot run yet, or not on every task: {', '.join(missing)}.\n"] if missing else []
        if not ranked:
            return "".join(["\nNo experiment is above the default everywhere.\n", *said])
        lines = [f"- `{name}`, {format_signed(gain)} points: {self._settings(name)}\n" for name, gain in ranked]
        return "".join(
            ["\nAbove the default for every task and receiver, the largest mean gain first:\n\n", *lines, *said]
        )

    def _questions(self) -> str:
        rows = [[name, e.asks, self._settings(name), self._verdict(name)] for name, e in self._plan.experiments.items()]
        return _table(["experiment", "question", "values", "answer"], rows, numbers=4)

    def _settings(self, name: str) -> str:
        values = self._plan.experiments[name].set
        return ", ".join(f"`{key}: {_plain(value)}`" for key, value in values.items()) or MISSING

    def _verdict(self, name: str) -> str:
        if name == DEFAULT:
            return MISSING
        said = []
        for task in self._tasks(name):
            cells = [(who, self._results.difference(name, task, who)) for who in self._receivers(name, task)]
            said += [f"{self._name(task)}, {self._name(who)}: {_judged(d)}" for who, d in cells if d is not None]
        return "; ".join(said) or "not run yet"

    def _receivers(self, name: str, task: str) -> list[str]:
        return [who for its, who in self._results.cells(name) if its == task]

    def _tasks(self, name: str) -> Sequence[str]:
        return self._plan.experiments[name].tasks or self._plan.tasks

    def _by_gain(self, task: str) -> list[str]:
        """The others with a result on the task, the largest mean gain of their receivers first."""
        others = [name for name in self._plan.experiments if name != DEFAULT and self._results.of(name, task)]
        return sorted(others, key=lambda name: -self._results.mean(name, task, lambda d: d.score))

    def _points(self, experiment: str, task: str, who: str) -> str:
        return format_points(self._results.score(experiment, task, who, ACCURACY))


def _reached(gap: Difference | None, text: Difference | None) -> str:
    """Whether a receiver is at the goal; one half of it that is missed is enough to know that it is not."""
    parts = [None if gap is None else gap.accuracy >= -GOAL, None if text is None else text.accuracy >= 0]
    return "no" if False in parts else MISSING if None in parts else "yes"


def _judged(difference: Difference) -> str:
    """In words, by accuracy and its interval."""
    if abs(difference.accuracy) <= difference.half_width:
        return "no difference was shown"
    return "better" if difference.accuracy > 0 else "worse"


def _accuracy(difference: Difference | None) -> str:
    if difference is None:
        return MISSING
    return f"{format_signed(difference.accuracy)} ± {format_points(difference.half_width)}"


def _score(difference: Difference | None) -> str:
    return MISSING if difference is None else format_signed(difference.score)


def _plain(value: object) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int, words_after: int = 0) -> str:
    """A table whose columns from `numbers` on are numbers, but for the last `words_after`."""
    last = len(head) - words_after
    line = ["--:" if numbers <= column < last else "---" for column in range(len(head))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, line, *rows))
