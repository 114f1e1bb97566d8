"""docs/experiments.md says what is stored, and only what the plan asks for is stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.errors import ConfigurationError
from latentwire.params.load import load_params
from latentwire.yaml_files import read_yaml
from tools.experiments.comparison import Results
from tools.experiments.page import PAGE, write_page
from tools.experiments.plan import PLAN, Plan, read_plan
from tools.experiments.stored import RESULTS, missing_trials, write_reference, write_result

ROOT = Path(__file__).parents[2]
LABELS, GOLDS = ["a", "b"], [0, 0, 0, 0, 1, 1, 1, 1]
RIGHT = len(GOLDS)


def test_the_page_is_what_is_stored() -> None:
    assert write_page(ROOT, read_plan(ROOT)) == (ROOT / PAGE).read_text(), "Next: make experiments"


def test_every_stored_file_is_of_the_plan() -> None:
    plan = read_plan(ROOT)
    named = {f"{trial.name}.json" for trial in plan.trials()} | {f"without-wire-{task}.json" for task in plan.tasks}
    assert {path.name for path in (ROOT / RESULTS).iterdir()} <= named


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The real parameters and a plan of two experiments for two tasks, of which nothing is stored."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / PLAN).parent.mkdir()
    change_plan(tmp_path, experiments={"default": tried({}), "fast": tried({"train.lr": 0.003})})
    return tmp_path


def tried(overrides: dict[str, Any]) -> dict[str, Any]:
    return {"asks": "Does it help?", "set": overrides}


def change_plan(root: Path, **changes: Any) -> None:
    plan = {"base": {"train.validate.every": 32}, "method": "wire", "tasks": ["r8", "rotten_tomatoes"], "seeds": [0]}
    former = read_yaml(root / PLAN) if (root / PLAN).is_file() else plan
    (root / PLAN).write_text(yaml.safe_dump({**former, **changes}))


def store(root: Path, plan: Plan, right: dict[str, tuple[int, int]], code: str = "c0de") -> None:
    """Results in which the receivers answer so many texts rightly, the first ones, by experiment."""
    for trial in plan.trials():
        if trial.experiment in right:
            answers = dict(zip(("smollm2", "gemma3"), map(answer, right[trial.experiment]), strict=True))
            others = {"probe": answer(RIGHT), "scaled/smollm2": answer(RIGHT), "scaled/gemma3": answer(4)}
            write_result(root, trial, {**facts(answers | others), "code": code})
    for task in plan.tasks:
        texts = {f"readout/{receiver}": answer(4) for receiver in ("smollm2", "gemma3")}
        write_reference(root, task, plan.base, {**facts(texts), "labelled": 1024})


def answer(right: int) -> list[int]:
    return [gold if position < right else 1 - gold for position, gold in enumerate(GOLDS)]


def facts(answers: dict[str, list[int]]) -> dict[str, Any]:
    shape = {"params": {"train": {"steps": 64}}, "trained_numbers": 1000, "starts": 1, "cpu_s": 12.0}
    return {"labels": LABELS, "golds": GOLDS, "answers": answers, **shape}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"train.stepps": 3}, "experiment fast sets train.stepps, which params.yaml does not have"),
        ({"train.losses.label_ce.x": 1}, "sets train.losses.label_ce.x, which params.yaml does not have"),
        ({"train.lr": -1.0}, "experiment fast: `train.lr`"),
        ({"train.warmup": 64}, "warmup must be below steps"),
        ({"prepare.limits.train": 4096}, "set names prepare.limits.train, expected a key of encode, methods, train"),
        ({"train.seeds": [1]}, "set names train.seeds"),
    ],
)
def test_what_an_experiment_may_not_set_is_refused(repository: Path, overrides: dict[str, Any], said: str) -> None:
    change_plan(repository, experiments={"default": tried({}), "fast": tried(overrides)})
    with pytest.raises(ConfigurationError) as refused:
        read_plan(repository)
    assert said in str(refused.value)
    assert "Next: " in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experiments": {"fast": tried({"train.lr": 0.003})}}, "experiments must have one called default"),
        ({"experiments": {"default": tried({"train.lr": 0.003})}}, "experiments must have one called default"),
        ({"experiment": {}}, "experiment: Extra inputs are not permitted"),
        ({"tasks": ["imdb"]}, "'imdb'"),
        ({"seeds": [7]}, "'7'"),
    ],
)
def test_a_plan_that_is_none_is_refused(repository: Path, changes: dict[str, Any], said: str) -> None:
    change_plan(repository, **changes)
    with pytest.raises(ConfigurationError) as refused:
        read_plan(repository)
    assert said in str(refused.value)


def test_only_what_is_not_stored_is_missing(repository: Path) -> None:
    plan = read_plan(repository)
    assert [trial.name for trial in missing_trials(repository, plan)] == [
        *("default-r8-0", "default-rotten_tomatoes-0", "fast-r8-0", "fast-rotten_tomatoes-0")
    ]
    store(repository, plan, {"default": (4, 4), "fast": (5, 5)})
    assert list(missing_trials(repository, plan)) == []
    change_plan(repository, experiments={"default": tried({}), "fast": tried({"train.lr": 0.004})})
    changed = read_plan(repository)
    assert {trial.experiment for trial in missing_trials(repository, changed)} == {"fast"}
    assert "fast | Does it help? | `train.lr: 0.004` | not run yet |" in write_page(repository, changed)


@pytest.mark.parametrize(
    ("fast", "chosen"),
    [((6, 7), True), ((6, 4), True), ((7, 3), False), ((4, 4), False), ((3, 3), False)],
)
def test_chosen_is_what_is_nowhere_below_the_default(repository: Path, fast: tuple[int, int], chosen: bool) -> None:
    plan = read_plan(repository)
    store(repository, plan, {"default": (4, 4), "fast": fast})
    page = write_page(repository, plan)
    assert ("- `fast`, +" in page) is chosen
    assert ("No experiment is above the default everywhere." in page) is not chosen


def test_differences_gaps_and_the_goal(repository: Path) -> None:
    plan = read_plan(repository)
    store(repository, plan, {"default": (4, 4), "fast": (RIGHT, 2)})
    results = Results.read(repository, plan, load_params(repository / "params.yaml"))
    gained, lost = (results.difference("fast", "rotten_tomatoes", who) for who in ("smollm2", "gemma3"))
    assert gained is not None
    assert lost is not None
    assert (gained.accuracy, lost.accuracy) == (0.5, -0.25)
    # Half of eight texts differ by 1: their standard deviation is sqrt(2 / 7).
    assert gained.half_width == pytest.approx(1.96 * (2 / 7) ** 0.5 / 8**0.5)
    page = write_page(repository, plan)
    assert (
        "| Rotten Tomatoes | fast | SmolLM2 135M | 100.0 | 100.0 | 100.0 | +0.0 ± 0.0 | +0.0 | +50.0 ± 37.0 | yes |"
        in page
    )
    assert "| Rotten Tomatoes | fast | Gemma 3 270M | 25.0 | 50.0 | 100.0 | −75.0 ± " in page
    assert "Rotten Tomatoes, SmolLM2 135M: better" in page
    assert "Rotten Tomatoes, Gemma 3 270M: no difference was shown" in page


def test_what_is_not_stored_yet_is_no_number(repository: Path) -> None:
    plan = read_plan(repository)
    assert write_page(repository, plan).count("Nothing to compare with: the default is not run yet.") == 2
    trial = plan.trials()[0]
    write_result(repository, trial, {**facts({"smollm2": GOLDS, "probe": GOLDS}), "code": "c0de"})
    page = write_page(repository, plan)
    assert "| Reuters R8 | default | SmolLM2 135M | 100.0 | – | 100.0 | +0.0 ± 0.0 | +0.0 | – | – |" in page
    assert page.count("Nothing to compare with") == 1


def test_results_of_other_code_are_not_compared(repository: Path) -> None:
    plan = read_plan(repository)
    store(repository, plan, {"default": (4, 4)}, code="old")
    store(repository, plan, {"fast": (7, 7)}, code="new")
    results = Results.read(repository, plan, load_params(repository / "params.yaml"))
    assert results.difference("fast", "r8", "gemma3") is None
    assert results.ranked() == []


def test_results_of_other_texts_are_not_compared(repository: Path) -> None:
    plan = read_plan(repository)
    store(repository, plan, {"default": (4, 4), "fast": (7, 7)})
    trial = next(trial for trial in plan.trials() if trial.experiment == "fast")
    write_result(
        repository, trial, {**facts({"smollm2": GOLDS, "gemma3": GOLDS}), "golds": GOLDS[::-1], "code": "c0de"}
    )
    with pytest.raises(ConfigurationError, match="2 different sets of validation texts"):
        write_page(repository, plan)
