"""What README.md and docs/results.md say of the published run, between their marks: tables, and what the stages took.

The times are published too, in `reports/stage-times.json`, from which `latentwire estimate` foresees a first run:
on the machine of the run, right after it. Where the stages did not run here, those that are published already stay.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import yaml

from latentwire.headline import headline_markdown, read_headline, summary_markdown
from latentwire.machine_speed import probe_seconds
from latentwire.params.load import load_params
from latentwire.result_code import stage_kind
from latentwire.stage_times import (
    PublishedTimes,
    StageTime,
    read_published_times,
    read_stage_times,
    write_published_times,
)
from unbroken.environment import usable_cores

SUMMARY, TABLE, TIMES = "summary", "main table", "times"
PAGES = {"README.md": (SUMMARY, TIMES), "docs/results.md": (TABLE,)}
BEGINNINGS = {
    SUMMARY: "<!-- summary: `make readme` writes it from results/aggregate/stats.json -->\n",
    TABLE: "<!-- main table: `make readme` writes it from results/aggregate/stats.json -->\n",
    TIMES: "<!-- times: `make readme` writes them from reports/stage-times.json -->\n",
}


def with_part(text: str, name: str, part: str, page: str = "README.md") -> str:
    """The text of a page with a part between its two marks.

    Raises:
        SystemExit: A mark is missing, or there are several.
    """
    begin, end = BEGINNINGS[name], f"<!-- end of the {name} -->\n"
    if not text.count(begin) == text.count(end) == 1 or text.index(begin) > text.index(end):
        raise SystemExit(
            f"{page} has not one {begin.strip()!r} before one {end.strip()!r}, so there is no place for the {name}. "
            "Next: put both lines where it is to stand"
        )
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{part}\n{end}{after}"


def publish_times(root: Path) -> None:
    """Publish what the stages of `dvc.lock` took here, if all of them ran here."""
    stages = set(yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"])
    here = read_stage_times(root)
    if stages <= here.keys():
        probe = probe_seconds(load_params(root / "params.yaml").runtime.numerics)
        write_published_times(root, PublishedTimes(usable_cores(), probe, {name: here[name] for name in stages}))


def times_markdown(times: PublishedTimes) -> str:
    """What the kinds of stages took, and all of them, in minutes."""
    kinds: dict[str, list[StageTime]] = {}
    for stage, took in times.stages.items():
        kinds.setdefault(stage_kind(stage), []).append(took)
    rows = [_row(kind, own) for kind, own in sorted(kinds.items(), key=lambda pair: -_processor_minutes(pair[1]))]
    whole = _row(f"all, on {times.cores} cores", list(times.stages.values()))
    head = "| stage | runs | minutes | processor minutes |\n| --- | --: | --: | --: |\n"
    return head + "".join((*rows, whole))


def _row(name: str, times: list[StageTime]) -> str:
    minutes = sum(took.seconds for took in times) / 60
    return f"| {name} | {len(times)} | {minutes:.1f} | {_processor_minutes(times):.1f} |\n"


def _processor_minutes(times: list[StageTime]) -> float:
    return sum(took.processor_seconds for took in times) / 60


def write_pages(root: Path) -> None:
    """Write the published tables and times of the repository at `root` into its pages.

    Raises:
        SystemExit: No times are published, or a page or mark is missing; no page is written then.
    """
    times = read_published_times(root)
    if times is None:
        raise SystemExit("No reports/stage-times.json. Next: `make repro`, then `make readme` on the same machine")
    data = read_headline(root)
    parts = {SUMMARY: summary_markdown(data), TABLE: headline_markdown(data), TIMES: times_markdown(times)}
    written = {page: _with_parts(root, page, {name: parts[name] for name in names}) for page, names in PAGES.items()}
    for page, text in written.items():
        (root / page).write_text(text, encoding="utf-8")


def _with_parts(root: Path, page: str, parts: Mapping[str, str]) -> str:
    if not (root / page).is_file():
        raise SystemExit(f"No {page}, the place of the {' and the '.join(parts)}. Next: git checkout -- {page}")
    text = (root / page).read_text(encoding="utf-8")
    for name, part in parts.items():
        text = with_part(text, name, part, page)
    return text


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__).parse_args()
    publish_times(Path())
    write_pages(Path())
