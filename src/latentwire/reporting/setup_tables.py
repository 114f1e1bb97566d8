"""The tables of what was done: models, wire, training, texts and numerics, and the prompts as receivers read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from latentwire.reporting.document import (
    Column,
    Emphasis,
    Math,
    Piece,
    Quote,
    RowGroup,
    Table,
    TableRow,
    Text,
    Variable,
    compose_text,
    join_items,
    join_texts,
)
from latentwire.reporting.kinds import KINDS, OTHER
from latentwire.reporting.number_format import count_of, format_percent
from latentwire.reporting.own_setup import list_own_groups
from latentwire.reporting.report_data import METRIC_NAMES, ReportData
from latentwire.reporting.supervision import list_training_labels

MOST_WORDS = 16
"""Labels of a task whose words are printed; the others stand in `params.yaml`."""
LOSSES = {
    "token_ce": "cross-entropy of the answer's tokens",
    "label_ce": "cross-entropy over the labels",
    "collapse": "cosine between the wires of a batch",
}
LONGEST_PROMPT = 160
"""Letters of a prompt; of a longer one the middle is left out."""
WIRE = "⟨wire⟩"
"""What stands in stored prompts for the vectors of a wire."""
SLOTS, WIDTH = Math((Variable("M"),)), Math((Variable("d"),))


def build_setup_tables(data: ReportData) -> list[Table]:
    """The set-up, and the prompts where there are receivers."""
    return [_build_setup_table(data), *([_build_prompts_table(data)] if data.has_receivers else [])]


def _build_setup_table(data: ReportData) -> Table:
    return Table(
        name="setup",
        caption=("What was done. All of it stands in the parameters, or in what the stages stored.",),
        columns=(Column(("What",), width="1.35in"), Column(("How",), width="5.2in")),
        groups=tuple(_groups_of_texts(data) if data.has_receivers else list_own_groups(data)),
        density="dense",
    )


def _groups_of_texts(data: ReportData) -> list[RowGroup]:
    return [
        RowGroup(("Models, all frozen",), tuple(_rows(_model_rows(data)))),
        *(_method_group(data, method) for method in data.trained_methods),
        RowGroup(("Training",), tuple(_rows(_training_rows(data)))),
        RowGroup(("Texts, labels and words",), tuple(_rows(_task_rows(data)))),
        RowGroup(("Baselines and numerics",), tuple(_rows(_other_rows(data)))),
    ]


def _rows(named: Iterator[tuple[str, Text]]) -> Iterator[TableRow]:
    for name, value in named:
        yield TableRow(((name,), value))


def _method_group(data: ReportData, method: str) -> RowGroup:
    return RowGroup((f"Method: {data.display_name(method)}",), tuple(_rows(_method_rows(data, method))))


def _model_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    setup = data.stats["setup"]
    sender, wires = setup["sender"], data.methods_of_kind("wire")
    yield (
        "Sender",
        compose_text(
            "{model}; hidden state {layer} of the first {tokens} of a text",
            model=_describe_model(
                data, sender["name"], setup["methods"][wires[0]]["resampler"]["model_width"] if wires else None
            ),
            layer="after the last layer" if sender["layer"] == -1 else f"number {sender['layer']}",
            tokens=count_of(sender["max_tokens"], "token"),
        ),
    )
    parts = [part for method in wires for part in setup["methods"][method]["adapters"].items()]
    widths = {model: part["model_width"] for model, part in parts}
    described = [_describe_model(data, model, widths.get(model)) for model in data.receivers]
    yield "Receivers" if len(described) > 1 else "Receiver", join_texts(described)


def _describe_model(data: ReportData, model: str, width: int | None) -> Text:
    about = data.stats["models"][model]
    family = f"family {about['family']}" if about["family"] else "family not stated"
    size = f"{count_of(about['parameters'], 'parameter')}"
    wide = "" if width is None else f", hidden width {width:,}"
    return (f"{data.display_name(model)} ({family}, {size}{wide})",)


def _count_bytes(data: ReportData, method: str) -> float:
    return float(next(c["bytes_per_example"] for c in data.stats["cells"].values() if c["method"] == method))


def _say_quantised(data: ReportData, method: str, fewer: Sequence[str]) -> str:
    sizes = [f"{key.removeprefix(method + '-')}, {count_of(round(_count_bytes(data, key)), 'byte')}" for key in fewer]
    return "; ".join(sizes)


def _method_rows(data: ReportData, method: str) -> Iterator[tuple[str, Text]]:
    """What was trained, in the words of its kind."""
    if data.kind_of(method) == "wire":
        yield from _wire_rows(data, method)
        return
    about = data.stats["setup"]["methods"][method]
    yield "Trained", KINDS.get(about["kind"], OTHER).trained(about)
    sizes = [f"{count:,} for {data.display_name(model)}" for model, count in about["trained"].items()]
    yield "Parameters", ("of its own for each receiver: ", *join_items(sizes))
    yield "Read", (f"the text, at most {count_of(data.stats['setup']['baselines']['max_tokens'], 'token')} of it",)


def _wire_rows(data: ReportData, method: str) -> Iterator[tuple[str, Text]]:
    about = data.stats["setup"]["methods"][method]
    cost = _count_bytes(data, method)
    yield (
        "Wire",
        compose_text(
            "{slots} = {count} of {width} = {size}: {bytes} for a text",
            slots=SLOTS,
            count=count_of(about["slots"], "vector"),
            width=WIDTH,
            size=count_of(about["width"], "number"),
            bytes=count_of(round(cost), "byte"),
        ),
    )
    fewer = [key for key in data.methods if data.quantised_of(key) == method]
    if fewer:
        yield "Wire at fewer bits", (f"{_say_quantised(data, method, fewer)}; a scale for each 32 numbers is in there",)
    yield (
        "Encoder (trained)",
        (
            f"{count_of(about['depth'], 'block')} of cross-attention, self-attention and "
            f"feed-forward layer with {count_of(about['heads'], 'head')}, dropout {about['dropout']:g}, queries of "
            f"standard deviation {about['query_std']:g} at the start: "
            f"{count_of(about['resampler']['parameters'], 'parameter')}",
        ),
    )
    parts = {model: about["adapters"][model] for model in data.stats["methods"][method]["models"]}
    sizes = [f"{part['parameters']:,} for {data.display_name(model)}" for model, part in parts.items()]
    yield (
        "Adapters (trained)",
        (f"one per receiver, hidden width {about['hidden']:,}; parameters: ", *join_items(sizes)),
    )


def _training_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    about = data.stats["setup"]["training"]
    yield (
        "Optimizer",
        (
            f"AdamW, {count_of(about['steps'], 'step')} of {count_of(about['batch'], 'example')}; learning rate up to "
            f"{about['lr']:g} over {count_of(about['warmup'], 'step')}, then a cosine to 0; weight decay "
            f"{about['weight_decay']:g}, largest norm of the gradient {about['clip']:g}; the weights of the "
            "last step are used",
        ),
    )
    losses = {words: about["losses"][name] for name, words in LOSSES.items()}
    weights = [f"{words} (weight {weight:g})" for words, weight in losses.items() if weight]
    yield "Loss", (*join_items(list(weights)), ", a mean over receivers")
    yield "Labelled examples", (f"learned from, on each task: {list_training_labels(data)}",)
    if balance := about["balance"]:
        share = format_percent(balance, 0)
        yield (
            "Draws",
            (
                f"{share} of them shared equally by the labels, the rest as often as the labels occur; logistic layers "
                "learn from the same examples, as often as drawn or once each, whichever has the higher macro-F1 in "
                "five-fold cross-validation on them",
            ),
        )
    yield "Seeds", ("; ".join(_list_seeds(data)),)
    every, examples = about["validate"]["every"], about["validate"]["examples"]
    yield "Validation", (f"every {count_of(every, 'step')} on {count_of(examples, 'text')}",)


def _list_seeds(data: ReportData) -> Iterator[str]:
    permuted = [m for m in data.control_methods if _has_own_trainings(data, m)]
    for method in (*data.trained_methods, *permuted):
        yield f"{data.display_name(method)}: {', '.join(map(str, data.stats['methods'][method]['seeds']))}"


def _has_own_trainings(data: ReportData, method: str) -> bool:
    return any(run["method"] == method for run in data.stats["runs"].values())


def _task_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    for task in data.tasks:
        about = data.stats["setup"]["tasks"][task]
        counts = [f"{count:,} {split}" for split, count in _ordered_splits(about["splits"])]
        classes = len(data.stats["tasks"][task]["counts"])
        yield (
            data.display_name(task),
            compose_text(
                "{counts} texts; {classes} in the test split, the largest with {largest} of it; judged by "
                "{metric}; answers: {words}",
                counts=join_items(list(counts)),
                classes=count_of(classes, "class", "classes"),
                largest=format_percent(data.stats["tasks"][task]["largest_class"]),
                metric=METRIC_NAMES[data.metric_of(task)],
                words=_list_words(about["labels"]),
            ),
        )


def _ordered_splits(splits: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for split in ("train", "validation", "test"):
        yield split, splits[split]


def _list_words(labels: Mapping[str, str]) -> Text:
    """The words of the labels, each with the label in brackets unless it is the word itself."""
    shown = list(labels.items())[:MOST_WORDS]
    words: list[Text] = [
        (Quote(word.strip()),) if word.strip() == label else (Quote(word.strip()), " (", Quote(label, True), ")")
        for label, word in shown
    ]
    rest = f" and {len(labels) - len(shown)} more" if len(labels) > len(shown) else ""
    return (*join_texts(words, ", "), *([rest] if rest else []))


def _other_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    baselines, runtime = data.stats["setup"]["baselines"], data.stats["setup"]["runtime"]
    mode, shards = (data.stats["setup"]["training"][name] for name in ("mode", "shards"))
    yield (
        "Baselines",
        (
            f"read at most {count_of(baselines['max_tokens'], 'token')} of a text, the truncated one "
            f"{baselines['truncated_to']:,}; {_say_shots(data)}logistic layers have C = {baselines['probe_c']:g}",
        ),
    )
    yield (
        "Numerics",
        (
            f"{runtime['device']}, {runtime['numerics']} kernels, frozen models in {runtime['dtype']}, trained weights "
            f"in float32; {mode} mode with {count_of(shards, 'shard')}",
        ),
    )


def _say_shots(data: ReportData) -> str:
    shots = data.stats["setup"]["baselines"]["shots"]
    if shots is None:
        return ""
    return (
        f"{data.display_name('few_shot')} has {count_of(shots, 'solved example')} before it, "
        "the first of each label in turn among those that other methods learn from, cut alike, and the same for "
        "every text; "
    )


def _build_prompts_table(data: ReportData) -> Table:
    return Table(
        name="prompts",
        caption=(
            "Prompts as each receiver reads them, decoded from its tokens, for the shortest training text of each "
            "task.",
        ),
        columns=(
            Column(("Receiver",), width="1.15in"),
            Column(("With a wire",), width="2.5in"),
            Column(("With the text",), width="2.65in"),
        ),
        groups=tuple(_prompts_group(data, task) for task in data.tasks),
        notes=(_prompts_note(),),
        density="dense",
    )


def _prompts_note() -> Text:
    return compose_text(
        "{wire} stands for the {slots} vectors of a wire, {line} for the end of a line. The last word is the answer "
        "whose likelihood is read; every label's word is tried there.",
        wire=Emphasis(("Wire",)),
        slots=SLOTS,
        line=Quote(r"\n", verbatim=True),
    )


def _prompts_group(data: ReportData, task: str) -> RowGroup:
    prompts = data.stats["setup"]["tasks"][task]["prompts"]
    rows = [
        TableRow(((data.display_name(model),), _show_prompt(shown["wire"]), _show_prompt(shown["text"])))
        for model, shown in ((receiver, prompts[receiver]) for receiver in data.receivers)
    ]
    return RowGroup((data.display_name(task),), tuple(rows))


def _show_prompt(prompt: str) -> Text:
    """A prompt with its line breaks as signs, and a word in the place of the wire."""
    before, wire, after = prompt.partition(WIRE)
    pieces: list[Piece] = [Quote(_shorten(before), verbatim=True)]
    if wire:
        pieces += [Emphasis((" wire ",)), Quote(_shorten(after), verbatim=True)]
    return tuple(piece for piece in pieces if not (isinstance(piece, Quote) and not piece.text))


def _shorten(prompt: str) -> str:
    shown = prompt.replace("\n", r"\n")
    half = LONGEST_PROMPT // 2
    return shown if len(shown) <= LONGEST_PROMPT else f"{shown[:half]} … {shown[-half:]}"
