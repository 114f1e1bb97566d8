"""`latentwire verify`: are the results here those that were published, and do they follow from their predictions?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from latentwire.params.load import load_any_params
from latentwire.verification.answers import AnswerPairs
from latentwire.verification.disproofs import find_disproofs
from latentwire.verification.judgement import Judgement, judge_statistics
from latentwire.verification.local_results import LocalResults
from latentwire.verification.lockfile import read_lock
from latentwire.verification.outputs import output_rows
from latentwire.verification.paper_text import paper_rows
from latentwire.verification.published import Published
from latentwire.verification.rebuild import Rebuilt, rebuild_results
from latentwire.verification.rows import ResultRow
from latentwire.verification.stages import stage_rows
from latentwire.verification.training_metrics import pair_metrics
from latentwire.yaml_files import read_yaml


def verify_results(root: Path, published: Published) -> list[ResultRow]:
    """Compare every stage, table and figure of a repository with the published ones, and every number that differs."""
    values = load_any_params(root / "params.yaml")
    raw = read_yaml(root / "params.yaml")
    with tempfile.TemporaryDirectory(prefix="latentwire-verify-") as scratch:
        rebuilt = rebuild_results(root, values, Path(scratch))
        judgement = _judge(root, published, rebuilt)
        disproofs = find_disproofs(root, values)
        local = LocalResults(root, read_lock(root), raw, values.verify.tolerances, rebuilt, judgement, disproofs)
        numbers = judgement.rows() if judgement else ()
        return [*stage_rows(published, local), *output_rows(published, local), *paper_rows(root, rebuilt), *numbers]


def _judge(root: Path, published: Published, rebuilt: Rebuilt) -> Judgement | None:
    if published.stats is None or rebuilt.stats is None:
        return None
    metrics = pair_metrics(rebuilt.stats, published, root)
    return judge_statistics(published.stats, rebuilt.stats, metrics, AnswerPairs(root, published).compare_answers)
