"""Two versions of the statistics: what contradicts, what is compatible, and what must be equal."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from latentwire.params.load import load_params
from latentwire.verification.judgement import Both, Judgement, judge_statistics
from latentwire.verification.rebuild import recompute_statistics
from latentwire.verification.rows import Status
from latentwire.verification.run_noise import measure_seeds
from tests.support.synthetic_predictions import build

Stats = dict[str, Any]
CELL = "r8/smollm2/wire/accuracy"
SOURCE = "results/evaluate/wire-r8-0/predictions.parquet"
DIFFERENCE = "r8/smollm2/wire-vs-text/accuracy"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    build(root, count=150)
    return root


@pytest.fixture(scope="module")
def published(repository: Path) -> Stats:
    return recompute_statistics(repository, load_params(repository / "params.yaml"))


@pytest.fixture
def here(published: Stats) -> Stats:
    """A copy of the published statistics whose predictions are all other bytes."""
    made = copy.deepcopy(published)
    for source in made["sources"].values():
        source["sha256"] = "other"
    return made


def judged(published: Stats, here: Stats, metrics: dict[str, Both] | None = None) -> Judgement:
    return judge_statistics(published, here, metrics or {}, lambda _: None)


def said(judgement: Judgement, ids: list[str] | None = None) -> str:
    status, why = judgement.about(ids)
    assert status is Status.CONTRADICTED, (status, why)
    return why


def flip(frame: pd.DataFrame, rng: np.random.Generator, share: float) -> pd.DataFrame:
    """Answers of which a share is exchanged for the next label, scores and all."""
    chosen = np.flatnonzero(rng.random(len(frame)) < share)
    labels = sorted(frame["prediction"].unique())
    for row in chosen:
        scores = np.full(len(frame["scores"].iloc[row]), -3.0)
        scores[0] = -0.5
        frame.loc[row, "prediction"] = labels[0]
        frame.at[row, "scores"] = scores
    return frame


def test_the_same_statistics_say_nothing(published: Stats) -> None:
    judgement = judged(published, copy.deepcopy(published))
    assert judgement.about(None) == (Status.COMPATIBLE, "")
    assert list(judgement.rows()) == []


def test_other_bytes_and_nearly_the_same_numbers_are_compatible(published: Stats, here: Stats) -> None:
    cell = here["cells"][CELL]
    cell["value"] += 0.004
    cell["per_seed"]["0"] += 0.012
    assert judged(published, here).about(None) == (Status.COMPATIBLE, "")


def test_a_number_that_is_far_off_reaches_what_is_made_of_it_and_nothing_else(published: Stats, here: Stats) -> None:
    here["cells"][CELL]["value"] -= 0.6
    judgement = judged(published, here)
    assert "standard errors off, p " in said(judgement, [CELL])
    for made in (DIFFERENCE, "all-tasks/smollm2/wire/accuracy", "all-tasks/smollm2/wire-vs-text/accuracy"):
        assert said(judgement, [made]).startswith(f"{CELL}: it is ")
    for other in (
        "r8/gemma3/wire-vs-text/accuracy",
        "rotten_tomatoes/smollm2/wire/accuracy",
        "r8/smollm2/text/accuracy",
    ):
        assert judgement.about([other]) == (Status.COMPATIBLE, "")
    assert [row.name for row in judgement.rows()] == [CELL]


def test_the_same_answers_leave_nothing_to_chance(published: Stats) -> None:
    edited = copy.deepcopy(published)
    edited["cells"][CELL]["value"] += 0.001
    assert "from the same answers" in said(judged(published, edited), [CELL])


@pytest.mark.long
def test_predictions_of_another_run(repository: Path, published: Stats, tmp_path: Path) -> None:
    """From predictions to the answer: five answers in a hundred are others, in every seed and on every task."""
    values, rng = load_params(repository / "params.yaml"), np.random.default_rng(3)
    root = tmp_path / "again"
    build(root, count=150)
    for path in sorted((root / "results/evaluate").glob("*/predictions.parquet")):
        flip(pd.read_parquet(path), rng, 0.05).to_parquet(path)
    judgement = judged(published, recompute_statistics(root, values))
    status, why = judgement.about(None)
    assert (status, why) == (Status.COMPATIBLE, "")
    assert judgement.claims
    for path in sorted((root / "results/evaluate").glob("wire-r8-*/predictions.parquet")):
        flip(pd.read_parquet(path), rng, 0.95).to_parquet(path)
    assert judged(published, recompute_statistics(root, values)).about(None)[0] is Status.CONTRADICTED


def change(*path: Any, value: Any) -> Callable[[Stats], None]:
    def apply(stats: Stats) -> None:
        place: Any = stats
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return apply


def drop(*path: Any) -> Callable[[Stats], None]:
    def apply(stats: Stats) -> None:
        place: Any = stats
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return apply


def rename_method(stats: Stats) -> None:
    for section in ("cells", "calibration"):
        stats[section] = {key.replace("/wire/", "/wire2/"): entry for key, entry in stats[section].items()}


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (
            change("settings", "confidence", value=0.9),
            "settings › confidence is 0.95, published 0.9, and must be equal",
        ),
        (change("tasks", "r8", "n", value=149), "tasks › r8 › n is 150, published 149"),
        (change("tasks", "r8", "data_digest", value="x"), "published 'x', and must be equal"),
        (change("models", "gemma3", "digest", value="x"), "models › gemma3 › digest is "),
        (change("parameters", value="x"), "published 'x'"),
        (change("families", "ablations", "m", value=9), "families › ablations › m is 12, published 9"),
        (change("cells", CELL, "N", value=120), "N is 150, published 120"),
        (change("cells", CELL, "S", value=2), "S is 3, published 2"),
        (change("cells", CELL, "bytes_per_example", value=1.0), "bytes_per_example is 3072.0, published 1.0"),
        (change("cells", CELL, "signature", value="ci:twoway|conf:0.9"), "published 'ci:twoway|conf:0.9'"),
        (change("runs", "r8/wire/0/training", "steps", value=1), "published 1"),
        (drop("cells", CELL, "per_seed", "1"), "per_seed › 1 is here, and was not published"),
        (drop("cells", CELL, "value"), "value is here, and was not published"),
        (drop("cells", CELL, "shares"), "shares is here, and was not published"),
        (drop("cells", CELL), f"cells › {CELL} is here, and was not published"),
        (drop("sources", SOURCE), f"sources › {SOURCE} is here, and was not published"),
        (drop("comparisons", DIFFERENCE, "p"), "p is here, and was not published"),
        (drop("comparisons", DIFFERENCE, "retention", "outcome"), "outcome is here, and was not published"),
        (
            change("cells", "r8/x/wire/accuracy", value={"value": 1.0}),
            "cells › r8/x/wire/accuracy was published, and is",
        ),
        (rename_method, "/wire2/accuracy was published, and is not here"),
        (change("new section", value=1), "new section was published, and is not here"),
    ],
)
def test_what_has_no_uncertainty_must_be_equal(published: Stats, edit: Callable[[Stats], None], named: str) -> None:
    edited = copy.deepcopy(published)
    edit(edited)
    judgement = judged(edited, published)
    assert judgement.about(None)[0] is Status.CONTRADICTED
    assert named in "\n".join(row.why for row in judgement.rows())


def test_statistics_of_another_form_are_not_compared(published: Stats) -> None:
    status, why = judged({"schema": "latentwire-stats/1", "cells": {}}, published).about([CELL])
    assert status is Status.NOT_VERIFIABLE
    assert "latentwire-stats/1, those here in latentwire-stats/9: they cannot be compared" in why


def test_an_interval_of_another_kind_follows_from_the_answers(published: Stats, here: Stats) -> None:
    cell = here["cells"][CELL]
    cell["signature"] = cell["signature"].replace("ci:twoway", "ci:wilson")
    here["cells"][CELL]["shares"] = None
    assert judged(published, here).about(None) == (Status.COMPATIBLE, "")


def with_verdict(stats: Stats, now: str) -> Stats:
    edited = copy.deepcopy(stats)
    edited["comparisons"][DIFFERENCE]["adjusted"]["verdict"] = now
    return edited


def test_a_claim_that_became_its_opposite_contradicts(published: Stats, here: Stats) -> None:
    judgement = judged(with_verdict(published, "better"), with_verdict(here, "worse"))
    assert "is 'worse', published 'better': the opposite" in said(judgement, [DIFFERENCE])
    assert judgement.about(["r8/gemma3/wire-vs-text/accuracy"])[0] is Status.COMPATIBLE


def test_a_claim_that_became_undecided_is_listed_and_contradicts_nothing(published: Stats, here: Stats) -> None:
    decided, undecided = with_verdict(published, "better"), with_verdict(here, "not different")
    judgement = judged(decided, undecided)
    assert judgement.about(None) == (Status.COMPATIBLE, "")
    listed = list(judgement.rows())
    assert {(row.kind, row.name, row.status) for row in listed} == {("claim", DIFFERENCE, Status.COMPATIBLE)}
    assert all(row.why.endswith("published 'better': undecided here") for row in listed)
    back = list(judged(undecided, decided).rows())
    assert back
    assert all(row.why.endswith("decided here, undecided as published") for row in back)


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [("retention", "non-inferior", "inferior"), ("equivalence", "different", "equivalent")],
)
def test_the_other_claims_have_opposites_too(published: Stats, here: Stats, name: str, was: str, now: str) -> None:
    before = copy.deepcopy(published)
    before["comparisons"][DIFFERENCE][name]["outcome"] = was
    here["comparisons"][DIFFERENCE][name]["outcome"] = now
    assert f"{name} is {now!r}, published {was!r}" in said(judged(before, here), [DIFFERENCE])
    here["comparisons"][DIFFERENCE][name]["outcome"] = "inconclusive"
    assert judged(before, here).about(None)[0] is Status.COMPATIBLE


def test_another_best_method_contradicts_where_neither_is_among_the_best_of_the_other(
    published: Stats, here: Stats
) -> None:
    block, ranks = here["blocks"][0], f"{here['blocks'][0]['task']}/{here['blocks'][0]['receiver']}/ranks"
    other = "truncated"
    assert block["best"] != other
    was = block["best"]
    block.update(best=other, tied=[was])
    assert judged(published, here).about(None)[0] is Status.COMPATIBLE
    block["tied"] = []
    assert f"the best method is {other}, published {was}" in said(judged(published, here), [ranks])


def test_numbers_of_trainings_are_tested_with_the_others(published: Stats) -> None:
    near = measure_seeds([0.50, 0.52, 0.51]), measure_seeds([0.51, 0.52, 0.49])
    far = near[0], measure_seeds([9.50, 9.52, 9.51])
    one = measure_seeds([0.5]), measure_seeds([0.6])
    judgement = judged(published, published, {"near": near, "far": far, "one": one})
    assert judgement.about(["near"]) == (Status.COMPATIBLE, "")
    assert "far: it is 9.51, published 0.51" in said(judgement, ["far"])
    assert judgement.about(["one"])[0] is Status.NOT_VERIFIABLE
    assert "it has one seed" in judgement.about(["one"])[1]


def test_one_seed_cannot_be_judged(published: Stats, here: Stats) -> None:
    for stats in (single := copy.deepcopy(published), here):
        stats["cells"][CELL].update(S=1, shares=None)
    assert judged(single, here).about([CELL]) == (Status.COMPATIBLE, "")
    here["cells"][CELL]["value"] += 0.001
    status, why = judged(single, here).about([CELL])
    assert status is Status.NOT_VERIFIABLE
    assert "the noise of training is not known" in why
