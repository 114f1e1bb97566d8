"""A row per stage: are its outs the published ones?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latentwire import digests
from latentwire.verification.differences import first_difference, format_leaf
from latentwire.verification.local_results import LocalResults
from latentwire.verification.lockfile import LockedStage, find_parameter, output_digests, say_how_to_get
from latentwire.verification.other_outs import judge_stage
from latentwire.verification.published import Published
from latentwire.verification.rows import ResultRow, Status

CODE = "code"
"""The stage without results: the others name the code that is not theirs any more."""

LISTED = 3
"""The most names that a sentence lists."""


def stage_rows(published: Published, local: LocalResults) -> list[ResultRow]:
    """One row per published stage that has results, in its order, and one for each stage that was not published."""
    rows = [_disprove(_row(stage, published, local), local) for stage in published.lock.values() if stage.name != CODE]
    extra = sorted(set(local.lock) - set(published.lock) - {CODE})
    return [
        *rows,
        *(ResultRow("stage", name, Status.CONTRADICTED, f"{name} is in dvc.lock, not published") for name in extra),
    ]


def _disprove(row: ResultRow, local: LocalResults) -> ResultRow:
    """The row of a stage whose outs cannot be true."""
    why = local.disproofs.get(row.name)
    if why is None or row.status is Status.NOT_VERIFIABLE:
        return row
    return ResultRow(row.kind, row.name, Status.CONTRADICTED, "; ".join(filter(None, (why, row.why))))


def _row(stage: LockedStage, published: Published, local: LocalResults) -> ResultRow:
    present = {out: digests.dvc_digest(local.root / out) for out in stage.outs}
    missing = [out for out, digest in present.items() if digest is None]
    if missing:
        return ResultRow(
            "stage", stage.name, Status.NOT_VERIFIABLE, f"{list_some(missing)} missing. {say_how_to_get(local.root)}"
        )
    changed = {out: str(digest) for out, digest in present.items() if digest != stage.outs[out]}
    if changed:
        return _changed_row(stage, changed, published, local)
    if stage.name == "aggregate" and (wrong := local.rebuilt.refusal or local.rebuilt.difference):
        return ResultRow("stage", stage.name, Status.CONTRADICTED, wrong)
    if edited := _edited_lock(stage, local):
        return ResultRow("stage", stage.name, Status.CONTRADICTED, edited)
    return ResultRow("stage", stage.name, Status.IDENTICAL, _changed_inputs(stage, published, local))


def _edited_lock(stage: LockedStage, local: LocalResults) -> str | None:
    """What `dvc.lock` claims that holds neither for the outs here nor for any parameters; None where all of it does."""
    mine = local.lock.get(stage.name)
    if mine is None:
        return None
    for out, digest in mine.outs.items():
        if digest != stage.outs.get(out):
            return f"dvc.lock says {digest[:12]} of {out}, which has {str(digests.dvc_digest(local.root / out))[:12]}"
    for key, value in mine.params.items():
        now = find_parameter(local.params, key)
        if value not in (stage.params.get(key), now):
            was = format_leaf(stage.params.get(key))
            edited = f"dvc.lock says {key} is {format_leaf(value)}, published with {was}"
            return f"{edited}, and params.yaml has {format_leaf(now)}"
    return None


def _changed_row(
    stage: LockedStage, changed: Mapping[str, str], published: Published, local: LocalResults
) -> ResultRow:
    """The row of a stage with outs that are not the published ones; `changed` has their digests."""
    what = "; ".join(describe_difference(out, published, local.root) for out in list(changed)[:LISTED])
    mine = output_digests(local.lock)
    foreign = [out for out, digest in changed.items() if mine.get(out) != digest]
    if foreign:
        return ResultRow("stage", stage.name, Status.CONTRADICTED, f"{what}; no stage wrote {foreign[0]} as it is")
    status, why = judge_stage(stage, published, local)
    said = (what, why, _changed_inputs(stage, published, local))
    return ResultRow("stage", stage.name, status, "; ".join(filter(None, said)))


def describe_difference(out: str, published: Published, root: Path) -> str:
    """What differs in an out: which files of a folder, and the first value where the published content is available."""
    path = root / out
    if not path.is_dir():
        return _file_difference(out, published, path)
    before = published.listing(out)
    if before is None:
        return _source_difference(out, published, root) or f"{out} has another digest than published"
    after = digests.file_digests(path)
    lost, new = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if lost or new:
        return f"{out} lacks {list_some(lost)}" if lost else f"{out} has {list_some(new)}, which was not published"
    name = next(name for name in sorted(after) if after[name] != before[name])
    return _file_difference(f"{out}/{name}", published, path / name)


def _source_difference(out: str, published: Published, root: Path) -> str | None:
    for source, facts in published.provenance["sources"].items():
        path = root / source
        if source.startswith(f"{out}/") and not path.is_file():
            return f"{source} is missing"
        if source.startswith(f"{out}/") and digests.sha256_of(path) != facts["sha256"]:
            return f"{source} has other bytes than published"
    return None


def _file_difference(name: str, published: Published, path: Path) -> str:
    before = published.content(name)
    if before is None:
        return f"{name} has another digest than published"
    return f"{name}: {first_difference(name, before, path.read_bytes())}"


def _changed_inputs(stage: LockedStage, published: Published, local: LocalResults) -> str:
    """Which code and parameters changed since these results were made, although they are the published ones."""
    code = local.code_now.find_changes(stage, published.content)
    params = [key for key, value in stage.params.items() if find_parameter(local.params, key) != value]
    notes = [f"code changed since: {list_some(code)}"] if code else []
    if params:
        now, was = find_parameter(local.params, params[0]), stage.params[params[0]]
        notes.append(f"{params[0]} is {format_leaf(now)} now, published with {format_leaf(was)}")
    return "; ".join(notes)


def list_some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
