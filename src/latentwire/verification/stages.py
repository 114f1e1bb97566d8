"""A row per stage: are its outs those that were published?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire import digests
from latentwire.verification.differences import first_difference, shown
from latentwire.verification.features import of_features
from latentwire.verification.lockfile import Lock, Stage, outs, parameter
from latentwire.verification.published import Published
from latentwire.verification.rebuild import Rebuilt
from latentwire.verification.rows import Row, Status
from latentwire.verification.tolerance import Numbers, Unknown, exceeding, of_statistics, other_verdict

LISTED = 3
"""Most names in a sentence."""


@dataclass(frozen=True)
class Here:
    """The repository that is verified: its own lock (what its stages wrote), parameters and rebuilt evidence."""

    root: Path
    lock: Lock
    params: Mapping[str, Any]
    tolerances: Mapping[str, float]
    rebuilt: Rebuilt


def stage_rows(published: Published, here: Here) -> list[Row]:
    """One row per published stage, in its order, and one for each stage that was not published."""
    rows = [_row(stage, published, here) for stage in published.lock.values()]
    extra = sorted(set(here.lock) - set(published.lock))
    return [
        *rows,
        *(Row("stage", name, Status.DIFFERS, f"{name} is in dvc.lock but was not published") for name in extra),
    ]


def _row(stage: Stage, published: Published, here: Here) -> Row:
    found = {out: digests.dvc_digest(here.root / out) for out in stage.outs}
    missing = [out for out, digest in found.items() if digest is None]
    if missing:
        return Row("stage", stage.name, Status.NOT_VERIFIABLE, f"{_some(missing)} missing. Next: `dvc pull`")
    changed = [out for out, digest in found.items() if digest != stage.outs[out]]
    if changed:
        return _changed(stage, changed, found, published, here)
    if stage.name == "aggregate" and (wrong := here.rebuilt.refusal or here.rebuilt.difference):
        return Row("stage", stage.name, Status.DIFFERS, wrong)
    if edited := _edited_lock(stage, here):
        return Row("stage", stage.name, Status.DIFFERS, edited)
    return Row("stage", stage.name, Status.IDENTICAL, _made_from_other(stage, here))


def _edited_lock(stage: Stage, here: Here) -> str | None:
    """What `dvc.lock` says that is true neither of the outs here nor of any parameters; None where all is."""
    mine = here.lock.get(stage.name)
    if mine is None:
        return None
    for out, digest in mine.outs.items():
        if digest != stage.outs.get(out):
            return f"dvc.lock says {digest[:12]} of {out}, which has {str(digests.dvc_digest(here.root / out))[:12]}"
    for key, value in mine.params.items():
        now = parameter(here.params, key)
        if value not in (stage.params.get(key), now):
            was = shown(stage.params.get(key))
            return f"dvc.lock says {key} is {shown(value)}, published with {was}, and params.yaml has {shown(now)}"
    return None


def _changed(
    stage: Stage, changed: list[str], found: Mapping[str, str | None], published: Published, here: Here
) -> Row:
    what = "; ".join(difference_of(out, published, here.root) for out in changed[:LISTED])
    mine = outs(here.lock)
    foreign = [out for out in changed if mine.get(out) != found[out]]
    if foreign:
        return Row("stage", stage.name, Status.DIFFERS, f"{what}; no stage wrote {foreign[0]} as it is")
    off = _exceeds(stage, published, here)
    if off is None:
        return Row("stage", stage.name, Status.WITHIN, what)
    status = Status.NOT_VERIFIABLE if isinstance(off, Unknown) else Status.DIFFERS
    return Row("stage", stage.name, status, f"{what}; {off}")


def difference_of(out: str, published: Published, root: Path) -> str:
    """What differs in an out: the files of a folder and the first value, where the published content is at hand."""
    path = root / out
    if not path.is_dir():
        return _file_difference(out, published, path)
    before = published.listing(out)
    if before is None:
        return _by_source(out, published, root) or f"{out} has another digest than published"
    after = digests.file_digests(path)
    lost, new = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if lost or new:
        return f"{out} lacks {_some(lost)}" if lost else f"{out} has {_some(new)}, which was not published"
    name = next(name for name in sorted(after) if after[name] != before[name])
    return _file_difference(f"{out}/{name}", published, path / name)


def _by_source(out: str, published: Published, root: Path) -> str | None:
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


def _exceeds(stage: Stage, published: Published, here: Here) -> str | None:
    """Why the new outs of a stage do not confirm the published ones; None where they do."""
    kind = stage.name.partition("@")[0]
    if kind == "encode":
        return of_features(next(iter(stage.outs)), published, here.root, here.tolerances)
    if kind == "train":
        return _of_metrics(stage.outs, published, here)
    if kind in ("evaluate", "baseline", "aggregate", "report"):
        return _of_statistics(None if kind in ("aggregate", "report") else tuple(stage.outs), published, here)
    return "no tolerance applies to it"


def _of_metrics(names: Iterable[str], published: Published, here: Here) -> str | None:
    name = next(name for name in names if name.endswith(".json"))
    before = published.content(name)
    if before is None:
        return Unknown.without(name)
    after: Numbers = json.loads((here.root / name).read_text(encoding="utf-8"))
    return exceeding(json.loads(before), after, here.tolerances)


def _of_statistics(folders: tuple[str, ...] | None, published: Published, here: Here) -> str | None:
    fresh, before = here.rebuilt.stats, published.stats
    if fresh is None:
        return here.rebuilt.refusal
    if folders is None and here.rebuilt.difference:
        return here.rebuilt.difference
    if before is None:
        return Unknown.without("statistics")
    ids = None if folders is None else _fed_by(fresh, folders)
    off = exceeding(of_statistics(before, ids), of_statistics(fresh, ids), here.tolerances)
    return off or (other_verdict(before, fresh) if folders is None else None)


def _fed_by(stats: Mapping[str, Any], folders: tuple[str, ...]) -> list[str]:
    under = tuple(f"{folder}/" for folder in folders)
    return [key for key, cell in stats["cells"].items() if any(path.startswith(under) for path in cell["sources"])]


def _made_from_other(stage: Stage, here: Here) -> str:
    """What would be read now is not what these results were made from; said beside them, they are the same."""
    code = [
        dep
        for dep, digest in stage.deps.items()
        if dep.startswith("src/") and digests.dvc_digest(here.root / dep) != digest
    ]
    params = [key for key, value in stage.params.items() if parameter(here.params, key) != value]
    notes = [f"code changed since: {_some(code)}"] if code else []
    if params:
        key = params[0]
        notes.append(f"{key} is {shown(parameter(here.params, key))} now, published with {shown(stage.params[key])}")
    return "; ".join(notes)


def _some(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
