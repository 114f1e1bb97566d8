"""`reports/execution/profile.json`, the same as Markdown, and accuracy against time as a figure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from latentwire.output_files import replace_file, write_text_file
from latentwire.reporting.fitting import fit_names
from latentwire.reporting.report_data import ReportData
from latentwire.reporting.style import SeriesStyle, assign_styles, open_panels
from latentwire.sizes import format_bytes

FOLDER = Path("reports/execution")
DATA, TEXT, FIGURE = "profile.json", "profile.md", "latency.png"
Profile = Mapping[str, Any]


def write_profile(root: Path, profile: Profile, data: ReportData | None) -> list[Path]:
    """Write data, text and, where there are statistics, the figure; return their paths."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    numbers, text = folder / DATA, folder / TEXT
    write_text_file(numbers, json.dumps(profile, indent=1, sort_keys=True) + "\n")
    write_text_file(text, "\n".join(_profile_lines(profile, drawn=data is not None)) + "\n")
    return [numbers, text, *([_draw_profile(profile, data, folder / FIGURE)] if data else [])]


def _profile_lines(profile: Profile, drawn: bool) -> Iterator[str]:
    """The Markdown text, line by line."""
    yield from ("# What an answer costs", "")
    yield (
        f"Milliseconds of one example at a time, median and the middle half, over {profile['examples']} test texts "
        f"{profile['repeats']} times, the ways alternating. sender: the sender reads the text; write: its states "
        "become a wire; read: the receiver scores every label. Another machine has other numbers."
    )
    yield from ("", "| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in profile["machine"].items())
    yield f"| most memory of the process | {format_bytes(profile['peak_process_bytes'])} |"
    yield from ("", "| task | receiver | method | sender | write | read | total | positions | bytes | GPU memory |")
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"
    yield from (_row(record) for record in profile["ways"])
    if drawn:
        yield from ("", f"![Accuracy against milliseconds per example]({FIGURE})")


def _row(record: Profile) -> str:
    spent = record["milliseconds"]
    times = [_time(spent[part]) if part in spent else "–" for part in ("sender", "write", "read", "total")]
    memory = "–" if record["peak_gpu_bytes"] is None else format_bytes(record["peak_gpu_bytes"])
    facts = [f"{record['positions']:.1f}", f"{record['bytes_per_example']:,.1f}", memory]
    return f"| {' | '.join([record['task'], record['receiver'], record['method'], *times, *facts])} |"


def _time(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} [{spread['low']:.2f}, {spread['high']:.2f}]"


def _draw_profile(profile: Profile, data: ReportData, path: Path) -> Path:
    """Accuracy with its interval against the median time and its middle half, on a log₂ axis."""
    methods = list(dict.fromkeys(record["method"] for record in profile["ways"]))
    styles = assign_styles(methods, {})
    with open_panels(len(data.tasks), len(data.receivers), 0.5 + 1.75 * len(data.tasks)) as (figure, axes):
        for task, line in zip(data.tasks, axes, strict=True):
            for receiver, ax in zip(data.receivers, line, strict=True):
                for record in profile["ways"]:
                    if (record["task"], record["receiver"]) == (task, receiver):
                        _point(ax, record, data, styles[record["method"]])
                ax.set_xscale("log", base=2)
                ax.set_title(f"{data.drawn_name(task)}: {data.drawn_name(receiver)}", loc="left")
            line[0].set_ylabel("accuracy (%)")
        for ax in axes[-1]:
            ax.set_xlabel("milliseconds per example")
        handles = axes[0][0].get_legend_handles_labels()[0]
        figure.legend(handles=handles, loc="outside lower center", ncols=6)
        fit_names(figure)
        with replace_file(path) as partial:
            figure.savefig(partial)
    return path


def _point(ax: Axes, record: Profile, data: ReportData, style: SeriesStyle) -> None:
    cell = data.get_cell(data.cell_id(record["task"], record["receiver"], record["method"], "accuracy"))
    spent, value = record["milliseconds"]["total"], 100 * cell["value"]
    ax.errorbar(
        spent["median"], value, label=data.drawn_name(record["method"]),
        xerr=[[spent["median"] - spent["low"]], [spent["high"] - spent["median"]]],
        yerr=[[value - 100 * cell["low"]], [100 * cell["high"] - value]],
        color=style.color, marker=style.marker, elinewidth=0.9, capsize=1.5, linestyle="none",
    )  # fmt: skip
