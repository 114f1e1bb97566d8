"""How long the stages took: here, where each leaves that in `.cache/stage-times/`, and in the published run."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentwire.output_files import write_text_file
from latentwire.result_code import stage_kind

FOLDER = Path(".cache/stage-times")
PUBLISHED = Path("reports/stage-times.json")
GOING_ON = ("prepare", "train")
"""Kinds of stages that keep what a stopped one has done: converted models, checkpoints."""
_LONGEST_S = 366 * 86400.0
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What reading a file ends with that is damaged, or of another version."""


@dataclass(frozen=True)
class StageTime:
    """What one run of a stage took."""

    seconds: float
    processor_seconds: float
    """Of its processes together."""


@dataclass(frozen=True)
class PublishedTimes:
    """What the stages took where the published results were computed."""

    cores: int
    probe_seconds: float
    """What `latentwire.machine_speed.probe_seconds` was there."""
    stages: Mapping[str, StageTime]


def used_processor_seconds() -> float:
    """Processor seconds of this process and of those that it started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def begin_stage(root: Path, stage: str) -> bool:
    """Note that a stage has begun; `stage` is its name in `dvc.lock`.

    Returns:
        Whether it starts afresh. Where an earlier start did not come to its end, stages of some kinds go on from there,
        and the time of this start is not that of the whole.
    """
    begun = _begun(root, stage)
    begun.parent.mkdir(parents=True, exist_ok=True)
    fresh = stage_kind(stage) not in GOING_ON or not begun.exists()
    begun.touch()
    return fresh


def end_stage(root: Path, stage: str, took: StageTime | None) -> None:
    """Keep what a stage took here in place of what it took before; None where that is not known."""
    if took is not None:
        keep_stage_time(root, stage, took)
    _begun(root, stage).unlink(missing_ok=True)


def _begun(root: Path, stage: str) -> Path:
    return root / FOLDER / f"{stage}.begun"


def keep_stage_time(root: Path, stage: str, took: StageTime) -> None:
    """Keep what a stage took here, in place of what it took before."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_text_file(folder / f"{stage}.json", json.dumps(_rounded(took)) + "\n")


def read_stage_times(root: Path) -> dict[str, StageTime]:
    """Stage → time of every stage that has ended here; one that cannot be read, or is no time, is left out."""
    read = {path.stem: _read_time(path) for path in sorted((root / FOLDER).glob("*.json"))}
    return {stage: took for stage, took in read.items() if took is not None}


def _read_time(path: Path) -> StageTime | None:
    try:
        return _as_time(json.loads(path.read_text(encoding="utf-8")))
    except _UNREADABLE:
        return None


def _as_time(found: Any) -> StageTime:
    took = StageTime(float(found["seconds"]), float(found["processor_seconds"]))
    if not all(0 <= value < _LONGEST_S for value in asdict(took).values()):  # not so of nan
        raise ValueError(f"{found} is no time")
    return took


def write_published_times(root: Path, times: PublishedTimes) -> None:
    """Publish what the stages took."""
    stages = {stage: _rounded(took) for stage, took in sorted(times.stages.items())}
    facts = {"cores": times.cores, "probe_seconds": round(times.probe_seconds, 4), "stages": stages}
    (root / PUBLISHED).parent.mkdir(exist_ok=True)
    write_text_file(root / PUBLISHED, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def read_published_times(root: Path) -> PublishedTimes | None:
    """What the published stages took; None where nothing is published, or cannot be read."""
    try:
        facts = json.loads((root / PUBLISHED).read_text(encoding="utf-8"))
        stages = {str(stage): _as_time(took) for stage, took in facts["stages"].items()}
        probe = float(facts["probe_seconds"])
        return PublishedTimes(int(facts["cores"]), probe, stages) if 0 < probe < _LONGEST_S else None
    except _UNREADABLE:
        return None


def seconds_of(stage: str, times: Mapping[str, float]) -> float | None:
    """What a stage took; of one that is not among them, the mean of its kind, such as `train@…`; None without any."""
    kind = stage_kind(stage)
    alike = [seconds for name, seconds in times.items() if stage_kind(name) == kind]
    return times.get(stage, sum(alike) / len(alike) if alike else None)


def _rounded(took: StageTime) -> dict[str, float]:
    return {name: round(value, 1) for name, value in asdict(took).items()}
