"""`latentwire watch`: the training items while they train, and afterwards; it only reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from latentwire.console.tables import make_console
from latentwire.identities import find_identities
from latentwire.item import TrainItem
from latentwire.journal_sample import LOSS, QUALITY
from latentwire.nvml import Gpu, read_gpus
from latentwire.params.load import AnyParams, check_choice, load_any_params
from latentwire.status import UNKNOWN, ItemStatus, ReadStatus, follow_statuses, read_statuses, status_reader
from unbroken.run_folder.journal import Record
from unbroken.standard_streams import print_sentence

BARS = "▁▂▃▄▅▆▇█"
CURVE, BAR = 24, 20
"""Characters."""
STYLES = {"finished": "green", "running": "bold cyan", "failed": "bold red", "killed": "red", "preempted": "yellow"}
"""Of a verdict; dim where there is none here, such as `running on HOST, or killed`."""


def watch_items(root: Path, item: str | None, once: bool, seconds: float, console: Console | None = None) -> int:
    """Show frames until every item is finished or the user interrupts; return exit code 0.

    Args:
        root: The repository.
        item: Only this one.
        once: One frame, and no more.
        seconds: Between two frames; where the output is no terminal, between two lines for each item under way.
        console: Where to; the terminal.

    Raises:
        ConfigurationError: There is no such item.
    """
    values, shown = load_any_params(root / "params.yaml"), console or make_console()
    if item is not None:
        check_choice("ITEM", item, [known.name for known in TrainItem.all(values)])
    if once:
        _print_frame(values, root, item, shown)
        return 0
    read_status = status_reader(values, root, item)
    try:
        (_live if shown.is_terminal else _lines)(read_status, values.train.steps, seconds, shown)
    except KeyboardInterrupt:
        print_sentence("The training is not affected.")
    return 0


def _print_frame(values: AnyParams, root: Path, item: str | None, console: Console) -> None:
    """One frame, and below it why some items have no identity, as before `prepare` and `encode`."""
    identities, missing = find_identities(values, root)
    statuses = read_statuses(values, root, identities, item)
    frame = render_frame(statuses, values.train.steps, read_gpus().cards)
    for text in (frame, *([f"{UNKNOWN} {missing}"] if missing else ())):
        console.print(text, soft_wrap=not console.is_terminal, highlight=False)


def _live(read_status: ReadStatus, steps: int, seconds: float, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for statuses in follow_statuses(
            read_status, seconds, lambda sentence: live.update(Text(sentence), refresh=True)
        ):
            cards = read_gpus().cards
            live.update(_fitting_frame(statuses, steps, cards, console), refresh=True)
            live.update(render_frame(statuses, steps, cards))  # what stays there at the end, when it may scroll


def _fitting_frame(statuses: Mapping[str, ItemStatus], steps: int, cards: Sequence[Gpu], console: Console) -> Text:
    """The fullest frame of which the terminal shows every line: the end would be cut off, where the training is."""
    for detail in Detail:
        frame = render_frame(statuses, steps, cards, detail)
        if len(console.render_lines(frame)) <= console.height:
            break
    return frame


def _lines(read_status: ReadStatus, steps: int, seconds: float, console: Console) -> None:
    for statuses in follow_statuses(read_status, seconds, console.print):
        for line in render_lines(statuses, steps, read_gpus().cards):
            console.print(line, soft_wrap=True, highlight=False)


class Detail(Enum):
    """How much a frame shows, the fullest first; of items that are under way more than of others."""

    ALL = auto()
    """Three or four lines for a run, one for what did not start."""
    UNDER_WAY = auto()
    """One line for what is not under way."""
    LINES = auto()
    """One line for every item."""
    COUNTS = auto()
    """One line for every item that is under way; the others are counted."""


def render_frame(
    statuses: Mapping[str, ItemStatus], steps: int, cards: Sequence[Gpu], detail: Detail = Detail.ALL
) -> Text:
    """Everything at a glance, for 80 columns or more."""
    names = max((len(now.item) for now in statuses.values()), default=0)
    verdicts = max((len(_short(now.verdict)) for now in statuses.values()), default=0)
    shown = [now for now in statuses.values() if now.under_way or detail is not Detail.COUNTS]
    lines = [line for now in shown for line in _block(now, steps, names, verdicts, detail)]
    others = _counts([now for now in statuses.values() if now not in shown])
    return Text("\n").join([*lines, *(Text(line, "dim") for line in (*others, *_cards(cards)))])


def _counts(statuses: Sequence[ItemStatus]) -> list[str]:
    counts = Counter(now.verdict for now in statuses)
    return [", ".join(f"{count} {verdict}" for verdict, count in counts.items())] if counts else []


def _block(now: ItemStatus, steps: int, names: int, verdicts: int, detail: Detail) -> list[Text]:
    done = BAR * now.step // steps
    head = Text.assemble(
        (f"{now.item:{names}}  ", "bold"),
        (f"{_short(now.verdict):{verdicts}}  ", STYLES.get(now.verdict, "dim")),
        f"{f'{now.step}/{steps}':>{2 * len(str(steps)) + 1}} ",
        ("━" * done, "cyan"),
        ("─" * (BAR - done), "dim"),
    )
    whole = detail is Detail.ALL or (detail is Detail.UNDER_WAY and now.under_way)
    return [head, *(Text(f"  {line}", "dim") for line in filter(None, _details(now) if whole else ()))]


def _short(verdict: str) -> str:
    return verdict.replace(", or killed", "?")


def _details(now: ItemStatus) -> list[str]:
    if not now.starts:
        return [now.problem]
    loss = _values(now.records, LOSS)
    metrics = [
        f"{LOSS} {_last(loss)} {draw_sparkline(loss)}" if loss else "",
        *_qualities(now),
    ]
    pace = f"{format_pace(now)}  {format_left(now)} left" if now.pace is not None else ""
    saved = f"checkpoint {describe_checkpoint(now)}  starts {describe_starts(now)}"
    return [now.problem, "  ".join(filter(None, metrics)), pace, saved]


def render_lines(statuses: Mapping[str, ItemStatus], steps: int, cards: Sequence[Gpu]) -> list[str]:
    """The same for a log file: a line for each item that is under way, or one that says that none is."""
    active = [now for now in statuses.values() if now.under_way]
    if not active:
        return [f"nothing is under way: {', '.join(_counts(list(statuses.values())))}"]
    return [_line(now, steps) + "; " + "; ".join(_cards(cards)) for now in active]


def _line(now: ItemStatus, steps: int) -> str:
    parts = [
        f"{now.item}: {now.verdict}",
        f"{now.step}/{steps}",
        *(f"{key} {_last(values)}" for key in (LOSS,) if (values := _values(now.records, key))),
        *_qualities(now),
        format_pace(now),
        f"{format_left(now)} left" if format_left(now) else "",
        f"checkpoint {describe_checkpoint(now)}",
        f"starts {describe_starts(now)}",
        now.problem,
    ]
    return ", ".join(filter(None, parts))


def draw_sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """The curve in `width` characters or fewer, each the mean of its part; × where a part holds no finite number."""
    count = min(width, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    means = [_mean([value for value in part if math.isfinite(value)]) for part in parts]
    finite = [mean for mean in means if mean is not None]
    low, span = min(finite, default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    top = len(BARS) - 1
    return "".join("×" if m is None else BARS[round(top * (m - low) / span) if span else 0] for m in means)


def _cards(cards: Sequence[Gpu]) -> list[str]:
    return [f"GPU {index} {card}" for index, card in enumerate(cards)] if cards else ["no GPU"]


def _values(records: Sequence[Record], key: str) -> list[float]:
    return [float(record[key]) for record in records if record.get(key) is not None]


def _last(values: Sequence[float]) -> str:
    return f"{values[-1]:.4g}" if values else ""


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _qualities(now: ItemStatus) -> list[str]:
    return [f"{key} {value:.4g}" for key, value in read_latest(now.records, QUALITY).items()]


def read_latest(records: Sequence[Record], beginning: str) -> dict[str, float]:
    """The newest value of every metric whose name begins so, by name."""
    return {
        key: float(value)
        for record in records
        for key, value in record.items()
        if key.startswith(beginning) and value is not None
    }


def format_pace(now: ItemStatus) -> str:
    """Steps per second; empty where nothing is under way."""
    return "" if now.pace is None else f"{now.pace:.3g} steps/s"


def format_left(now: ItemStatus) -> str:
    """Time left, as hours, minutes and seconds; empty where nobody can tell."""
    return "" if now.seconds_left is None else str(timedelta(seconds=round(now.seconds_left)))


def describe_checkpoint(now: ItemStatus) -> str:
    """The step of the newest checkpoint, and how old it is."""
    age = now.checkpoint_age(datetime.now(UTC))
    if now.saved is None or age is None:
        return f"{now.durable}" if now.durable else "none yet"
    if age < 0:
        return f"{now.durable}, at {now.saved:%Y-%m-%d %H:%M} UTC by a clock that was ahead"
    return f"{now.durable}, {timedelta(seconds=round(age))} ago"


def describe_starts(now: ItemStatus) -> str:
    """How often it was started, and how those starts ended that did not finish."""
    ends = {"preempted": now.preempted, "killed": now.killed}
    said = ", ".join(f"{count} {how}" for how, count in ends.items() if count)
    return f"{now.starts} ({said})" if said else str(now.starts)
