"""The chain from a printed number to what it was made from, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire import digests, git
from latentwire.errors import EvidenceError
from latentwire.result_code import FOLDER, dvc_stage_name
from latentwire.verification.code_changes import CodeNow, Content, code_deps
from latentwire.verification.differences import format_leaf
from latentwire.verification.lockfile import Lock, LockedStage, find_parameter, output_digests
from latentwire.verification.published import PROVENANCE
from latentwire.yaml_files import read_yaml
from unbroken.run_folder import events

NO_IMAGE = "not run from an image"


@dataclass(frozen=True)
class Link:
    """One link of a chain; `broken` says why it does not hold, `missing` which file would show whether it does."""

    what: str
    value: str
    broken: str | None = None
    missing: str | None = None


def prediction_sources(stats: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """Files of predictions that a number is computed from: its own, those of both sides of a difference, or all."""
    if "sources" in entry:
        return list(entry["sources"])
    if "receiver" not in entry:
        return list(stats["sources"])
    cells = (
        cell
        for cell in stats["cells"].values()
        if cell["task"] == entry["task"]
        and cell["method"] in (entry["a"], entry["b"])
        and (cell["model"] == entry["receiver"] or not stats["methods"][cell["method"]]["reads_receiver"])
    )
    return list(dict.fromkeys(path for cell in cells for path in cell["sources"]))


def links_from_source(root: Path, path: str, recorded: Mapping[str, Any], lock: Lock, code_now: CodeNow) -> list[Link]:
    """The predictions, their checkpoint, and the parameters and code of the stages that made them."""
    folder = Path(path).parent
    item = folder.name if recorded["checkpoint"] else None
    kinds = ("train", "evaluate")
    stages = [_stage_of(item, kind, lock) for kind in kinds] if item else [f"baseline@{folder.parent.name}"]
    made = _made_by(root, stages, lock, code_now)
    return [_predictions(root, path, recorded), _checkpoint(root, item, recorded["checkpoint"]), *made]


def _stage_of(item: str, kind: str, lock: Lock) -> str:
    """The stage of an item, which is that of an ablation where `dvc.lock` has it as one."""
    ablation = dvc_stage_name(kind, item, True)
    return ablation if ablation in lock else dvc_stage_name(kind, item, False)


def missing_outs(root: Path, lock: Lock) -> list[str]:
    """What the statistics are computed from, of the outs in `dvc.lock`, and is not here."""
    read = [Path(path) for path in lock["aggregate"].deps] if "aggregate" in lock else []
    folders = {path for path in read if path.parent != FOLDER}
    outs = [out for out in output_digests(lock) if folders & {Path(out), *Path(out).parents}]
    return [out for out in outs if not (root / out).exists()]


def link_to_data(root: Path, task: str, digest: str) -> Link:
    """The prepared examples of a task."""
    path = root / "results/prepare" / task / "task.json"
    if not path.is_file():
        return Link("data", digest, missing=str(path.relative_to(root)))
    prepared = json.loads(path.read_text(encoding="utf-8"))
    broken = None if prepared["digest"] == digest else f"results/prepare/{task} has the digest {prepared['digest']}"
    source = f"results/prepare/{task}, made from a source of SHA-256 {prepared['source_sha256']}"
    return Link("data", f"{digest} ({source})", broken)


def link_to_code(root: Path) -> Link:
    """The revision that made the report, and the one that is checked out."""
    here = _checked_out(root)
    made = read_provenance(root).get("revision")
    if made is None:
        return Link("code revision", f"{here} is checked out; the report names none")
    state = ", with changes" if made["dirty"] else ""
    return Link("code revision", f"{made['commit']}{state}, says {PROVENANCE}; {here} is checked out")


def read_provenance(root: Path) -> dict[str, Any]:
    """The provenance record of the report; empty where there is none.

    Raises:
        EvidenceError: It is not JSON.
    """
    path = root / PROVENANCE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise EvidenceError(
            f"{PROVENANCE} is not JSON ({error}), expected the record of the report. Next: `dvc checkout {PROVENANCE}`."
        ) from error


def _checked_out(root: Path) -> str:
    commit = git.resolve_commit(root)
    if commit is None:
        return f"no git revision ({git.explain_unknown(root)})"
    changed = git.changed_files(root)
    return commit + (f" with {len(changed)} changed files ({', '.join(changed[:3])})" if changed else "")


def link_to_image(folder: Path | None) -> Link:
    """The image that a run was last started from, as its events say."""
    if folder is None:
        return Link("image digest", "unknown here: the state of the run is on the machine that trained it")
    images = [event["image"] for event in events.read_events(folder / events.EVENTS_FILE) if event.get("image")]
    return Link("image digest", str(images[-1]) if images else NO_IMAGE)


def read_identity(root: Path, item: str) -> str | None:
    """Identity (64 hex) of the run that trained an item; None where its checkpoint is not here."""
    path = root / "results/train" / item / "manifest.json"
    return str(json.loads(path.read_bytes())["identity"]) if path.is_file() else None


def find_state_folder(root: Path, item: str, identity: str) -> Path | None:
    """The folder of a run's state, if it was trained here."""
    return next(iter(sorted((root / "state").glob(f"{item}-{identity[:12]}*"))), None)


def _predictions(root: Path, path: str, recorded: Mapping[str, Any]) -> Link:
    file = root / path
    value = f"{path}, {recorded['rows']} rows, SHA-256 {recorded['sha256']}"
    if not file.is_file():
        return Link("predictions", value, missing=path)
    digest = digests.sha256_of(file)
    return Link("predictions", value, None if digest == recorded["sha256"] else f"the file has SHA-256 {digest}")


def _checkpoint(root: Path, item: str | None, digest: str | None) -> Link:
    if item is None or digest is None:
        return Link("checkpoint", "none: nothing was trained")
    path = root / "results/train" / item / "manifest.json"
    if not path.is_file():
        return Link("checkpoint", digest, missing=str(path.relative_to(root)))
    held = json.loads(path.read_bytes())["state"]
    broken = None if held == digest else f"results/train/{item} holds {held}"
    return Link("checkpoint", f"{digest} (results/train/{item})", broken)


def _made_by(root: Path, names: list[str], lock: Lock, code_now: CodeNow) -> list[Link]:
    """Parameters and code as `dvc.lock` recorded them, compared with those that are here."""
    known = [lock[name] for name in names if name in lock]
    if not known:
        return [Link("params", f"dvc.lock does not have {' and '.join(names)}")]
    here = read_yaml(root / "params.yaml")
    params = {key: value for stage in known for key, value in stage.params.items()}
    changed = [key for key, value in params.items() if find_parameter(here, key) != value]
    code = {path for stage in known for path in code_deps(stage)}
    changes = [code_now.find_changes(stage, _recorded(root, stage)) for stage in known]
    other = list(dict.fromkeys(name for names in changes for name in names))
    text = json.dumps(params, sort_keys=True, ensure_ascii=False)
    listed = f"{len(params)} keys of {', '.join(stage.name for stage in known)} in dvc.lock"
    now = "; the same in params.yaml"
    if changed:
        now = f"; now {changed[0]} is {format_leaf(find_parameter(here, changed[0]))}"
    since = f"changed since: {', '.join(other)}" if other else "unchanged here"
    return [
        Link("params", f"{digests.md5_of_bytes(text.encode())} ({listed}{now})"),
        Link("code", f"{', '.join(sorted(code))}: {since}"),
    ]


def _recorded(root: Path, stage: LockedStage) -> Content:
    def content(path: str) -> bytes | None:
        return (root / path).read_bytes() if digests.dvc_digest(root / path) == stage.deps[path] else None

    return content
