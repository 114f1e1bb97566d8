"""`results/aggregate/` → tables, figures and the paper under `reports/`, named after the revision of the code."""

from __future__ import annotations

import ast
import hashlib
import logging
from contextlib import suppress
from pathlib import Path

from latentwire import git
from latentwire.params.load import AnyParams
from latentwire.params.own import described_method
from latentwire.reporting.build import build_report
from latentwire.reporting.latex import ENGINE, compile_paper
from latentwire.reporting.provenance import parse_revision
from latentwire.reporting.report_data import Revision
from latentwire.result_code import ROOMS
from latentwire.tracking import publish
from unbroken.canonical_json import digest_json
from unbroken.preemption import StopFlag
from unbroken.run_folder.syntax_digest import syntax_digest

SCIENCE = (*(f"src/{room.replace('.', '/')}" for room in ROOMS), "src/latentwire/pipeline")
OTHERS = ("params.yaml", "dvc.yaml", "assets.lock", "requirements.lock")
CODE = (*SCIENCE, *OTHERS)
"""What defines a result: a report made while these differ from their commit is a draft."""
PROVENANCE = "reports/provenance.json"
SHALLOW = "this clone is shallow and lacks the commit that last changed the code (`git fetch --unshallow` gets it)"
DIRTY = f"files of the science, or {', '.join(OTHERS)}, differ from their last commit"
AGAIN = (
    "Next: mend that (`git commit`, if files differ), then `dvc repro code && dvc repro --force --single-item report`."
)


def make_report(values: AnyParams, pdf_only: bool) -> None:
    """Write and compile the report of the repository in the current folder; `pdf_only` compiles what is there."""
    # Fonts are subset for every figure, with a dozen lines each at the level that the stages log at.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    stop = StopFlag.install()
    stop.check()
    if not pdf_only:
        _write_report(values)
    stop.check()
    _compile_report()
    publish.publish_statistics(values, Path(), list_artifacts(Path("reports")))


def _write_report(values: AnyParams) -> None:
    code = find_code_revision(Path())
    written = build_report(Path(), values.report.title, values.report.names, code, described_method(values.report))
    print(f"{len(written)} files in reports/")
    if code is None or code.dirty:
        why = DIRTY if code else git.explain_unknown(Path()) or SHALLOW
        print(f"note: the report is marked DRAFT, because {why}. {AGAIN}")


def _compile_report() -> None:
    paper = compile_paper(Path("reports/paper.tex"))
    if paper is None:
        print(
            f"note: {ENGINE} is not installed, so reports/paper.tex was not compiled; everything else is complete. "
            "Next: install TeX Live with latexmk, then `python -m latentwire.stages.report --pdf-only`."
        )
    else:
        print(f"compiled {paper}")


def find_code_revision(root: Path) -> Revision | None:
    """The commit of what defines the results, and whether files differ from it; None where nobody knows it.

    It is the one that the committed report names, if what its files do is the same here: a commit of comments, or of
    anything else, such as `dvc.lock`, is no other code, so that the same report comes out of it. A shallow clone need
    not have that commit. Otherwise it is the newest one.
    """
    tree, changed = _digest_code(root), git.has_changes(root, CODE)
    commit = _find_published_commit(root, tree) or _find_newest_commit(root)
    return Revision(commit, changed, tree) if commit and changed is not None else None


def _find_newest_commit(root: Path) -> str | None:
    commit = git.newest_commit(root, CODE)
    return commit if commit and not git.is_cut_off(root, commit) else None


def _digest_code(root: Path) -> str | None:
    """64 hex over what the files of the code do; None where git does not say which they are."""
    names = git.tracked_files(root, CODE)
    if names is None:
        return None
    digests = {name: _digest_file(root / name) for name in names if (root / name).is_file()}
    return digest_json(digests)


def _digest_file(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".py":
        with suppress(SyntaxError, ValueError):  # of another Python: then every byte counts
            return syntax_digest(ast.parse(content))
    return hashlib.sha256(content).hexdigest()


def _find_published_commit(root: Path, tree: str | None) -> str | None:
    record = git.read_committed(root, "HEAD", PROVENANCE)
    try:
        published = parse_revision(record) if record else None
    except (ValueError, KeyError, AttributeError):  # edited by hand
        return None
    is_this = published and not published.dirty and tree is not None and published.tree == tree
    return published.commit if published and is_this else None


def list_artifacts(reports: Path) -> dict[str, list[Path]]:
    """Folder in MLflow → files of the report that are attached there."""
    papers = [reports / name for name in ("paper.tex", "paper.pdf", "report.html", "report.md", "provenance.json")]
    return {
        "figures": sorted((reports / "figures").iterdir()),
        "tables": sorted((reports / "tables").iterdir()),
        "": [path for path in papers if path.is_file()],
    }
