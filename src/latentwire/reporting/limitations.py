"""What these results do not show, in sentences whose numbers are those of the statistics."""

from __future__ import annotations

from collections.abc import Iterator

from latentwire.reporting.document import Emphasis, Reference, Text, compose_text, join_items
from latentwire.reporting.number_format import count_of, format_percent, format_points
from latentwire.reporting.report_data import METRIC_NAMES, ReportData
from latentwire.reporting.shared_rows import merge_sentences

FEW_TEXTS = 10
"""Test texts below which the recall of a class moves by more than ten points with one answer."""


def list_limitations(data: ReportData) -> Iterator[tuple[str, Text]]:
    """Subject and sentences of every limitation that these data have."""
    yield "Scope.", merge_sentences(*_scope(data))
    cut = tuple(_cut_texts(data))
    if cut:
        yield "Cut texts.", merge_sentences(*cut)
    supervision = tuple(_supervision(data))
    if supervision:
        yield "Supervision.", merge_sentences(*supervision)
    yield "Seeds.", merge_sentences(*_seeds(data))
    costs = tuple(_costs(data))
    if costs:
        yield "Bytes.", merge_sentences(*costs)
    controls = tuple(_controls(data))
    if controls:
        yield "Controls.", merge_sentences(*controls)
    unread = tuple(_unread(data))
    if unread:
        yield "Reading.", merge_sentences(*unread)


def _scope(data: ReportData) -> Iterator[Text]:
    tasks, receivers = len(data.tasks), len(data.receivers)
    counted = f"{count_of(tasks, 'task')} of classification"
    if data.has_receivers:
        yield (
            f"{counted} and {count_of(receivers, 'receiver')} were measured, with one prompt and one set of trained "
            "answer words per task; other tasks, larger models and other prompts may give other orders.\n",
        )
    else:
        yield (f"{counted} {'were' if tasks > 1 else 'was'} measured; other tasks may give other orders.\n",)
    for task in data.tasks:
        counts = data.stats["tasks"][task]["counts"]
        few = [label for label, count in counts.items() if count < FEW_TEXTS]
        if few and data.metric_of(task) != "accuracy":
            yield compose_text(
                "{few} of the {classes} classes of {task} have fewer than {limit} test {kind}s (the smallest {least}), "
                "and {metric} gives each of them the weight of any other.\n",
                few=len(few),
                classes=len(counts),
                task=Emphasis((data.display_name(task),)),
                limit=FEW_TEXTS,
                kind=data.example,
                least=min(counts.values()),
                metric=METRIC_NAMES[data.metric_of(task)],
            )


def _cut_texts(data: ReportData) -> Iterator[Text]:
    """How much of a text is in the tokens that are read."""
    setup = data.stats["setup"]
    if not data.has_receivers:
        return
    read = {task: setup["tasks"][task]["share_read"] for task in data.tasks}
    shares = [f"{format_percent(share)} of {data.display_name(task)}" for task, share in read.items() if share]
    if shares:
        yield compose_text(
            "Receivers read at most {limit} of a text, which hold, of the bytes of the test texts, {shares}; "
            "the sender reads at most {sent} of its own.\n",
            limit=count_of(setup["baselines"]["max_tokens"], "token"),
            shares=join_items(list(shares)),
            sent=setup["sender"]["max_tokens"],
        )
    for task in data.tasks:
        cut = setup["tasks"][task]["cut"]
        counts = [*cut["sender"].items(), *((model, cut["receivers"][model]) for model in data.receivers)]
        longer = [f"{count:,} for {data.display_name(model)}" for model, count in counts]
        if any(count for _, count in counts):
            yield compose_text(
                "Of the {n} of {task}, {longer} are longer.\n",
                n=count_of(data.stats["tasks"][task]["n"], "test text"),
                task=Emphasis((data.display_name(task),)),
                longer=join_items(list(longer)),
            )


def _supervision(data: ReportData) -> Iterator[Text]:
    zero = [m for m in data.baseline_methods if not _learned(data, m)]
    if zero:
        yield compose_text(
            "{zero} saw no labelled example: what sets a trained method apart from them is supervision, too.\n",
            zero=join_items([Emphasis((data.display_name(method),)) for method in zero]),
        )
    if not data.has_receivers:
        return
    shown = data.stats["setup"]["baselines"]["shots"] is not None
    absent = {
        "prompt tuning": bool(data.methods_of_kind("prompt_tuning")),
        "adapters within the receivers": bool(data.methods_of_kind("lora")),
        "prompts with examples in them": shown,
    }
    missing = [name for name, is_there in absent.items() if not is_there]
    if missing:
        words = "".join(map(str, join_items(missing)))
        verb = "is" if missing == ["prompt tuning"] else "are"
        yield (f"{words[0].upper()}{words[1:]} {verb} not among the baselines.\n",)


def _learned(data: ReportData, method: str) -> bool:
    return any(cell["training_labels"] for cell in data.stats["cells"].values() if cell["method"] == method)


def _seeds(data: ReportData) -> Iterator[Text]:
    for method in data.trained_methods:
        seeds = len(data.stats["methods"][method]["seeds"])
        yield compose_text(
            "{method} has {seeds} per task on one split of the {kind}s: {what}.\n",
            method=Emphasis((data.display_name(method),)),
            seeds=count_of(seeds, "seed"),
            kind=data.example,
            what=f"seeds vary what is drawn in training, not which {data.example}s are trained on and tested"
            if seeds > 1
            else "nothing is said of how it varies with the seed",
        )


def _costs(data: ReportData) -> Iterator[Text]:
    reference = data.get_setting("reference")
    for method in data.trained_methods if data.has_receivers else ():
        larger = [task for task in data.tasks if _bytes(data, task, method) > _bytes(data, task, reference) > 0]
        if larger:
            yield compose_text(
                "{method} compresses nothing on {tasks}: it takes more bytes than what {reference} reads "
                "(Table\u00a0{costs}).\n",
                method=Emphasis((data.display_name(method),)),
                tasks=join_items([data.display_name(task) for task in larger]),
                reference=Emphasis((data.reference_name,)),
                costs=Reference("tab:costs"),
            )
        whole = [task for task in data.tasks if 0 < (_most_bytes(data, task) or 0) <= _bytes(data, task, method)]
        if whole:
            yield compose_text(
                "A cut at the bytes of {method} instead of its number of vectors would cut nothing{tasks}: receivers "
                "read at most {most} bytes.\n",
                method=Emphasis((data.display_name(method),)),
                tasks=(" on ", *join_items([data.display_name(task) for task in whole])) if whole != data.tasks else "",
                most=f"{max(_most_bytes(data, task) or 0 for task in whole):,}",
            )


def _bytes(data: ReportData, task: str, method: str) -> float:
    cells = data.stats["cells"].values()
    return float(next(c["bytes_per_example"] for c in cells if (c["task"], c["method"]) == (task, method)))


def _most_bytes(data: ReportData, task: str) -> int | None:
    most: int | None = data.stats["setup"]["tasks"][task]["most_bytes"]
    return most


def _controls(data: ReportData) -> Iterator[Text]:
    records = data.get_excesses("controls")
    sizes = [record["mde"] for record in records if record["mde"]]
    if sizes:
        yield (
            f"Controls would have missed a leak of fewer points than {format_points(min(sizes))} to "
            f"{format_points(max(sizes))}.\n",
        )
    once = list(dict.fromkeys(record["method"] for record in records if record["S"] == 1))
    if once:
        yield compose_text(
            "{controls} {were} trained once per task, which no test can tell from luck.\n",
            controls=join_items([Emphasis((data.display_name(method),)) for method in once]),
            were="was" if len(once) == 1 else "were",
        )


def _unread(data: ReportData) -> Iterator[Text]:
    """In how many cases a probe on the wire is right more often than the receiver that reads it."""
    for method in data.trained_methods:
        probes = [m for m, about in data.stats["methods"].items() if about["probe_of"] == method]
        cases = [(task, model) for task in data.tasks for model in data.stats["methods"][method]["models"]]
        for probe in probes:
            ahead = sum(_value(data, task, probe) > _value(data, task, method, model) for task, model in cases)
            if ahead:
                yield compose_text(
                    "{probe} scores more than the receivers in {ahead} of {cases}: the wire holds more than "
                    "they read from it.\n",
                    probe=Emphasis((data.display_name(probe),)),
                    ahead=ahead,
                    cases=count_of(len(cases), "case"),
                )


def _value(data: ReportData, task: str, method: str, model: str | None = None) -> float:
    model = model or data.stats["methods"][method]["models"][0]
    return float(data.get_cell(data.cell_id(task, model, method))["value"])
