"""`latentwire archive`: the folder to upload for a DOI."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from latentwire import digests, git
from latentwire.archive import ro_crate as crate
from latentwire.archive.ro_crate import ArchivedFile, ArchiveInfo
from latentwire.errors import ConfigurationError, EvidenceError
from latentwire.params.load import load_any_params
from latentwire.reporting.latex import compile_paper
from latentwire.verification.rows import ResultRow, Status
from latentwire.yaml_files import read_yaml

ARCHIVED_PATTERNS = (
    "params.yaml",
    "dvc.yaml",
    "dvc.lock",
    "assets.lock",
    "requirements*.lock",
    "LICENSE*",
    "assets/*TERMS*",
    "results/code/*.json",
    "results/prepare/models.json",
    "results/prepare/*/task.json",
    "results/baseline/*/*/predictions.parquet",
    "results/baseline/*/*/meta.json",
    "results/train/*.json",
    "results/train/*/journal.jsonl",
    "results/train/*/manifest.json",
    "results/evaluate/*/predictions.parquet",
    "results/evaluate/*/meta.json",
    "results/aggregate/*",
    "reports/*.*",
    "reports/tables/*",
    "reports/figures/*",
)
"""Neither the texts, which belong to others, nor the weights, whose digests are in `manifest.json`."""
SUMS = "SHA256SUMS"


def reasons_against_publishing(root: Path, rows: Sequence[ResultRow]) -> list[str]:
    """Why the results should not be published as they are: rows that are not identical, changed files."""
    unclean = [row for row in rows if row.status is not Status.IDENTICAL]
    reasons = [f"{row.name} {row.status.value}" + (f": {row.why}" if row.why else "") for row in unclean]
    changed = git.changed_files(root)
    return reasons + ([f"files changed since the commit: {', '.join(changed)}"] if changed else [])


def check_publishable(reasons: Sequence[str]) -> None:
    """Check that there is no reason against publishing.

    Raises:
        EvidenceError: There is; the message names the first.
    """
    if reasons:
        raise EvidenceError(
            f"{len(reasons)} things speak against publishing, first: {reasons[0]}. Expected `latentwire verify` to "
            "find everything identical and no changed file. Next: `latentwire verify`, or `latentwire archive --draft`."
        )


def write_archive(root: Path, target: Path, draft: Sequence[str]) -> Path:
    """Write the archive of a repository to `target`, which appears whole or not at all.

    Raises:
        ConfigurationError: `target` is there already.
        EvidenceError: There is no git revision, or results are missing.
    """
    if target.exists():
        raise ConfigurationError(f"{target} is there already, expected a new folder. Next: name another one.")
    info = _read_archive_info(root, draft)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _copy(root, partial)
    _write_paper(partial, compiled=not draft)
    code = _write_code(root, partial, info.commit)
    _write_archive_info(partial, info)
    parts = list_archived_files(partial)
    (partial / SUMS).write_text("".join(f"{part.sha256}  {part.path}\n" for part in parts), encoding="utf-8")
    text = json.dumps(crate.crate_metadata(info, list_archived_files(partial), code), indent=1, ensure_ascii=False)
    (partial / crate.METADATA).write_text(text + "\n", encoding="utf-8")
    return partial.rename(target)


def list_archived_files(folder: Path) -> list[ArchivedFile]:
    """Every file of a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        ArchivedFile(path.relative_to(folder).as_posix(), path.stat().st_size, digests.sha256_of(path))
        for path in files
    ]


def _read_archive_info(root: Path, draft: Sequence[str]) -> ArchiveInfo:
    commit = git.resolve_commit(root)
    day = git.commit_date(root, commit) if commit else None
    if commit is None or day is None:
        raise EvidenceError(
            f"{root.resolve()} has no git revision ({git.explain_unknown(root)}), expected the commit of the code "
            "there. Next: `git commit`, in a clone."
        )
    path = root / "CITATION.cff"
    if not path.is_file():
        raise EvidenceError(f"No CITATION.cff in {root.resolve()}, expected authors and licence there. Next: write it.")
    known = read_yaml(path)
    return ArchiveInfo(load_any_params(root / "params.yaml").report.title, known, commit, day, draft)


def _copy(root: Path, folder: Path) -> None:
    for pattern in ARCHIVED_PATTERNS:
        for source in sorted(path for path in root.glob(pattern) if path.is_file()):
            copy = folder / source.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    for examples in sorted(root.glob("results/prepare/*/examples.parquet")):
        labels = pd.read_parquet(examples, columns=["example_id", "split", "label"])
        labels.to_csv(folder / examples.relative_to(root).with_name("labels.csv"), index=False, lineterminator="\n")


def _write_paper(folder: Path, compiled: bool) -> None:
    """`paper.pdf` of the archived source, where there is TeX: the PDF that was there may be of another source."""
    source = folder / "reports/paper.tex"
    source.with_suffix(".pdf").unlink(missing_ok=True)
    if compiled:
        compile_paper(source)


def _write_code(root: Path, folder: Path, commit: str) -> str:
    """The committed code as one file; return its path in the archive."""
    data = git.archive_commit(root, commit, f"code-{commit[:12]}")
    if data is None:
        raise EvidenceError(f"git could not archive {commit}, expected the code there. Next: `git fsck`.")
    name = f"code-{commit[:12]}.tar"
    (folder / name).write_bytes(data)
    return name


def _write_archive_info(folder: Path, info: ArchiveInfo) -> None:
    cited = yaml.safe_dump(crate.citation_fields(info), sort_keys=False, allow_unicode=True)
    (folder / "CITATION.cff").write_text(cited, encoding="utf-8")
    (folder / "REVISION").write_text(info.commit + "\n", encoding="utf-8")
    if info.draft:
        listed = "".join(f"- {reason}\n" for reason in info.draft)
        text = f"# Draft: not to be published\n\n`latentwire verify` was not clean when this was written:\n\n{listed}"
        (folder / "DRAFT.md").write_text(text, encoding="utf-8")
