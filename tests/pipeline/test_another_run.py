"""What `latentwire verify` says of another run, and of a published one that disproves itself."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pandas as pd

from latentwire.params.load import load_params
from latentwire.pipeline.sample import sample_answers
from latentwire.verification import rows
from latentwire.verification.rows import Status
from tests.support.published_results import (
    PREDICTIONS,
    answer_otherwise,
    checked,
    commit_results,
    edit_rows,
    follow,
    of_wire,
    reasons,
)
from tests.support.workspace import Workspace


def test_another_run_is_compatible(place: Workspace) -> None:
    """What a run on another machine may look like: the stages wrote it, and it differs a little."""
    edit_rows(place.root / PREDICTIONS, lambda listed: answer_otherwise(of_wire(listed)[0]))
    follow(place)
    near = {row.name: row for row in checked(place.root)}
    for name in ("evaluate@wire-tiny-0", "aggregate", "report", "reports/tables/tiny.tex"):
        assert near[name].status is Status.COMPATIBLE, near[name]
    assert near["evaluate@wire-tiny-1"].status is Status.IDENTICAL
    assert rows.verification_exit_code(list(near.values())) == 0
    shutil.rmtree(place.root / ".dvc/cache")
    # Without the cache the numbers are still in git: whether they agree can be said all the same.
    compared = next(row for row in checked(place.root) if row.name == "evaluate@wire-tiny-0")
    assert compared.status is Status.COMPATIBLE


def test_other_answers_of_a_method_without_seeds_contradict(place: Workspace) -> None:
    def unlearn(listed: list[dict[str, Any]]) -> None:
        for row in listed:
            if row["model"] == "llama":
                answer_otherwise(row)

    edit_rows(place.root / "results/baseline/tiny/text/predictions.parquet", unlearn)
    follow(place)
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    said = "tiny/llama/text/accuracy: 60 of 60 answers are others, and nothing was trained"
    assert said in reasons(found, "aggregate")
    assert said in reasons(found, "baseline@tiny")
    assert next(row for row in found if row.name == "evaluate@wire-tiny-0").status is Status.IDENTICAL


def test_other_numbers_of_the_trainings_are_judged_over_their_seeds(place: Workspace) -> None:
    """Numbers beside the weights are published, too; those here are far from those of every published seed."""
    for seed in (0, 1):
        path = place.root / f"results/train/wire-tiny-{seed}.json"
        numbers = json.loads(path.read_text())
        path.write_text(json.dumps({name: value + 1000.0 for name, value in numbers.items()}))
    place.dvc("commit", "-f")
    said = reasons(checked(place.root), "train@wire-tiny-1")
    assert re.search(r"tiny/wire/training/[\w/]+: it is [\d.]+, published [\d.]+: .* standard errors off, p ", said)


def test_one_training_published_as_two_seeds(place: Workspace) -> None:
    """Every digest agrees, since the forgery was committed; the results disprove themselves all the same."""
    for kind in ("train", "evaluate"):
        source, target = (place.root / "results" / kind / f"wire-tiny-{seed}" for seed in (0, 1))
        shutil.rmtree(target)
        shutil.copytree(source, target)
    shutil.copy(place.root / "results/train/wire-tiny-0.json", place.root / "results/train/wire-tiny-1.json")
    answers = place.root / "results/evaluate/wire-tiny-1"
    frame = pd.read_parquet(answers / "predictions.parquet")
    frame.assign(seed=pd.array([1] * len(frame), dtype="Int64")).to_parquet(answers / "predictions.parquet")
    meta = json.loads((answers / "meta.json").read_text())
    (answers / "meta.json").write_text(json.dumps({**meta, "seed": 1}))
    follow(place)
    commit_results(place)
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 3
    assert "its weights are those of wire-tiny-0, to the last bit" in reasons(found, "train@wire-tiny-1")
    assert "its scores are those of wire-tiny-0, to the last bit" in reasons(found, "evaluate@wire-tiny-1")


def test_answers_that_the_weights_do_not_give(place: Workspace) -> None:
    """A forgery that agrees with itself everywhere: only the weights know better."""
    values = load_params(place.root / "params.yaml")
    assert {row.status for row in sample_answers(place.root, values, 1000)} <= {Status.IDENTICAL, Status.COMPATIBLE}
    edit_rows(place.root / PREDICTIONS, lambda listed: answer_otherwise(of_wire(listed)[0]))
    follow(place)
    commit_results(place)
    found = checked(place.root)
    assert rows.verification_exit_code(found) == 0, [row for row in found if row.status is not Status.IDENTICAL]
    sampled = {row.name: row for row in sample_answers(place.root, values, 1000)}
    assert sampled["evaluate/wire-tiny-0"].status is Status.CONTRADICTED
    assert re.search(r"nats off at wire/llama/\w{16}; the weights give others", sampled["evaluate/wire-tiny-0"].why)
    assert sampled["evaluate/wire-tiny-1"].status is Status.IDENTICAL
    assert {"baseline/tiny/text", "baseline/tiny/truncated"} <= set(sampled)
    shutil.rmtree(place.root / "results/train/wire-tiny-1")
    assert dict(_statuses(place))["evaluate/wire-tiny-1"] is Status.NOT_VERIFIABLE


def _statuses(place: Workspace) -> list[tuple[str, Status]]:
    return [(row.name, row.status) for row in sample_answers(place.root, load_params(place.root / "params.yaml"), 1)]
