"""Outs of a stage that are other bytes than published, and were written by that stage here: do they confirm these?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentwire.result_code import stage_kind
from latentwire.verification.differences import format_leaf, json_differences
from latentwire.verification.features import check_features
from latentwire.verification.judgement import ids_fed_by
from latentwire.verification.local_results import LocalResults
from latentwire.verification.lockfile import LockedStage
from latentwire.verification.published import Published, Unknown
from latentwire.verification.rows import Status
from latentwire.verification.training_metrics import metric_ids, metrics_path


def judge_stage(stage: LockedStage, published: Published, local: LocalResults) -> tuple[Status, str]:
    """Whether other outs, which a stage here wrote, confirm the published ones, and the first reason why not."""
    kind, item = stage_kind(stage.name), stage.name.partition("@")[2]
    if kind == "encode":
        return _judge_features(next(iter(stage.outs)), published, local)
    if kind == "train":
        return _judge_training(item, published, local)
    if kind in ("evaluate", "baseline"):
        return _judge_answers(tuple(stage.outs), published, local)
    if kind in ("aggregate", "report"):
        why = local.rebuilt.difference
        return (Status.CONTRADICTED, why) if why else local.about(None)
    return Status.CONTRADICTED, "it has no uncertainty and must be equal"


def _judge_features(folder: str, published: Published, local: LocalResults) -> tuple[Status, str]:
    off = check_features(folder, published, local.root, local.tolerances)
    if off is None:
        return Status.COMPATIBLE, ""
    return (Status.NOT_VERIFIABLE if isinstance(off, Unknown) else Status.CONTRADICTED), off


def _judge_training(item: str, published: Published, local: LocalResults) -> tuple[Status, str]:
    """Weights say nothing by themselves: their numbers and the answers that were made with them do."""
    name = metrics_path(item)
    before = published.content(name)
    if before is None:
        return Status.NOT_VERIFIABLE, Unknown.without(name)
    was, now = json.loads(before), json.loads((local.root / name).read_text(encoding="utf-8"))
    for metric in sorted(set(was) ^ set(now)):
        return Status.CONTRADICTED, f"{metric} is {'not published' if metric in now else 'missing'}"
    fresh = local.rebuilt.stats
    return local.about(None if fresh is None else metric_ids(fresh, item, list(now)))


def _judge_answers(folders: tuple[str, ...], published: Published, local: LocalResults) -> tuple[Status, str]:
    fresh = local.rebuilt.stats
    if fresh is None:
        return local.about(None)
    if other := _unequal_meta(fresh, folders, published, local.root):
        return Status.CONTRADICTED, other
    return local.about(_fed_by(fresh, folders))


def _unequal_meta(stats: Mapping[str, Any], folders: tuple[str, ...], published: Published, root: Path) -> str | None:
    """The first fact about how answers were made that is another one; None where there is none, or none is known."""
    for source in _sources_under(stats, folders):
        name = f"{Path(source).parent}/meta.json"
        before = published.content(name)
        for path, was, now in json_differences(json.loads(before or b"{}"), json.loads((root / name).read_bytes())):
            if before is not None and path != "checkpoint":
                return f"{name}: {path} is {format_leaf(now)}, published {format_leaf(was)}, and must be equal"
    return None


def _sources_under(stats: Mapping[str, Any], folders: tuple[str, ...]) -> list[str]:
    under = tuple(f"{folder}/" for folder in folders)
    return [source for source in stats["sources"] if source.startswith(under)]


def _fed_by(stats: Mapping[str, Any], folders: tuple[str, ...]) -> list[str]:
    """Ids of the numbers that are computed from predictions in these folders, and those predictions."""
    return _sources_under(stats, folders) + ids_fed_by(stats, folders)
