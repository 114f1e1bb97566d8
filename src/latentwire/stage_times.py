"""How long the stages took here: each leaves that in `.cache/stage-times/` when it has ended."""

from __future__ import annotations

import json
from pathlib import Path

from latentwire.output_files import write_text_file

FOLDER = Path(".cache/stage-times")
_LONGEST_S = 366 * 86400.0


def keep_stage_time(root: Path, stage: str, seconds: float) -> None:
    """Keep what a stage took here, in place of what it took before; `stage` is its name in `dvc.lock`."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_text_file(folder / f"{stage}.json", json.dumps(round(seconds, 1)) + "\n")


def read_stage_times(root: Path) -> dict[str, float]:
    """Stage → seconds of every stage that has ended here; one that cannot be read, or is no time, is left out."""
    times = {}
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            seconds = float(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, OverflowError):
            continue
        if 0 <= seconds < _LONGEST_S:  # not so of nan
            times[path.stem] = seconds
    return times


def seconds_of(stage: str, times: dict[str, float]) -> float | None:
    """What a stage took; of one that never ran here, the mean of its kind, such as `train@…`; None without any."""
    kind = stage.partition("@")[0]
    alike = [seconds for name, seconds in times.items() if name.partition("@")[0] == kind]
    return times.get(stage, sum(alike) / len(alike) if alike else None)
