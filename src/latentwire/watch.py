"""`latentwire watch`: the training items while they train, and afterwards; it only reads."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from latentwire.console.tables import make_console
from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.machine import Gpu, read_gpus
from latentwire.params.load import Params, check_choice, load_params
from latentwire.status import ItemStatus, items_by_identity, read_item_status
from unbroken.run_folder.journal import Record
from unbroken.standard_streams import has_reader, print_sentence

LOSS, QUALITY = "train/loss", "validation/accuracy"
BARS = "▁▂▃▄▅▆▇█"
CURVE, BAR = 24, 20
"""Characters."""
SHARE = 4
"""Times the duration of a look: it sleeps at least that long, lest long journals cost the trainer its cores."""
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
        ConfigurationError: There is no such item; with `once`, also where `prepare` or `encode` did not run.
    """
    values, shown = load_params(root / "params.yaml"), console or make_console()
    if item is not None:
        check_choice("ITEM", item, [known.name for known in TrainItem.all(values)])
    read_status = _status_reader(values, root, item)
    if once:
        frame = render_frame(read_status(), values.train.steps, read_gpus().cards)
        shown.print(frame, soft_wrap=not shown.is_terminal)
        return 0
    try:
        (_live if shown.is_terminal else _lines)(read_status, values.train.steps, seconds, shown)
    except KeyboardInterrupt:
        print_sentence("The training is not affected.")
    return 0


ReadStatus = Callable[[], Mapping[str, ItemStatus]]
"""Reads the status of every item: short identity → status."""


def _status_reader(values: Params, root: Path, item: str | None) -> ReadStatus:
    known: dict[str, str] = {}

    def read_status() -> dict[str, ItemStatus]:
        if not known:
            known.update(items_by_identity(values, root))
        wanted = {short: name for short, name in known.items() if item in (None, name)}
        return {
            short: read_item_status(root / "state", name, short, values.train.steps) for short, name in wanted.items()
        }

    return read_status


def _live(read_status: ReadStatus, steps: int, seconds: float, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for statuses in _statuses(read_status, seconds, lambda sentence: live.update(Text(sentence), refresh=True)):
            live.update(render_frame(statuses, steps, read_gpus().cards), refresh=True)


def _lines(read_status: ReadStatus, steps: int, seconds: float, console: Console) -> None:
    for statuses in _statuses(read_status, seconds, console.print):
        for line in render_lines(statuses, steps, read_gpus().cards):
            console.print(line, soft_wrap=True, highlight=False)


def _statuses(
    read_status: ReadStatus, seconds: float, waiting: Callable[[str], None]
) -> Iterator[Mapping[str, ItemStatus]]:
    """The status again and again, until every item is finished or nobody reads; what is not there yet is waited for."""
    while True:
        began = time.monotonic()
        try:
            statuses = read_status()
        except ConfigurationError as error:
            waiting(f"Waiting. {error}")
            statuses = {}
        if statuses:
            yield statuses
        if not has_reader():
            return
        if statuses and all(now.verdict == "finished" for now in statuses.values()):
            return
        time.sleep(max(seconds, SHARE * (time.monotonic() - began)))


def render_frame(statuses: Mapping[str, ItemStatus], steps: int, cards: Sequence[Gpu]) -> Text:
    """Everything at a glance, for 80 columns or more; three or four lines for a run, one for what did not start."""
    names = max((len(now.item) for now in statuses.values()), default=0)
    verdicts = max((len(_short(now.verdict)) for now in statuses.values()), default=0)
    shown = [line for now in statuses.values() for line in _block(now, steps, names, verdicts)]
    return Text("\n").join([*shown, *(Text(line, "dim") for line in _cards(cards))])


def _block(now: ItemStatus, steps: int, names: int, verdicts: int) -> list[Text]:
    done = BAR * now.step // steps
    head = Text.assemble(
        (f"{now.item:{names}}  ", "bold"),
        (f"{_short(now.verdict):{verdicts}}  ", STYLES.get(now.verdict, "dim")),
        f"{f'{now.step}/{steps}':>{2 * len(str(steps)) + 1}} ",
        ("━" * done, "cyan"),
        ("─" * (BAR - done), "dim"),
    )
    return [head, *(Text(f"  {line}", "dim") for line in filter(None, _details(now)))]


def _short(verdict: str) -> str:
    return verdict.replace(", or killed", "?")


def _details(now: ItemStatus) -> list[str]:
    if not now.starts:
        return []
    loss = _values(now.records, LOSS)
    metrics = [
        f"{LOSS} {_last(loss)} {draw_sparkline(loss)}" if loss else "",
        *(f"{key} {_last(values)}" for key in (QUALITY,) if (values := _values(now.records, key))),
    ]
    pace = f"{now.pace:.3g} steps/s  {_left(now)} left" if now.pace is not None else ""
    saved = f"checkpoint {_checkpoint(now)}  starts {_starts(now)}"
    return [now.problem, "  ".join(filter(None, metrics)), pace, saved]


def render_lines(statuses: Mapping[str, ItemStatus], steps: int, cards: Sequence[Gpu]) -> list[str]:
    """The same for a log file: a line for each item that is under way, or one that says that none is."""
    active = [now for now in statuses.values() if now.under_way]
    if not active:
        counts = Counter(now.verdict for now in statuses.values())
        return ["nothing is under way: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
    return [_line(now, steps) + "; " + "; ".join(_cards(cards)) for now in active]


def _line(now: ItemStatus, steps: int) -> str:
    parts = [
        f"{now.item}: {now.verdict}",
        f"{now.step}/{steps}",
        *(f"{key} {_last(_values(now.records, key))}" for key in (LOSS, QUALITY) if _values(now.records, key)),
        "" if now.pace is None else f"{now.pace:.3g} steps/s",
        f"{_left(now)} left" if _left(now) else "",
        f"checkpoint {_checkpoint(now)}",
        f"starts {_starts(now)}",
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


def _left(now: ItemStatus) -> str:
    return "" if now.seconds_left is None else str(timedelta(seconds=round(now.seconds_left)))


def _checkpoint(now: ItemStatus) -> str:
    if now.saved is None:
        return f"{now.durable}" if now.durable else "none yet"
    seconds = round((datetime.now(UTC) - now.saved).total_seconds())
    if seconds < 0:
        return f"{now.durable}, at {now.saved:%Y-%m-%d %H:%M} UTC by a clock that was ahead"
    return f"{now.durable}, {timedelta(seconds=seconds)} ago"


def _starts(now: ItemStatus) -> str:
    ends = {"preempted": now.preempted, "killed": now.killed}
    said = ", ".join(f"{count} {how}" for how, count in ends.items() if count)
    return f"{now.starts} ({said})" if said else str(now.starts)
