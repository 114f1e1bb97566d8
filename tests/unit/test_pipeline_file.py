"""dvc.yaml says what the stages really read: the code that they import and the parameters that they use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from latentwire.params.load import Params
from latentwire.params.sections import Train
from latentwire.result_code import FOLDER, ROOMS, result_code, stage_kind
from latentwire.result_code import STAGES as RESULT_STAGES

ROOT = Path(__file__).parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ABLATIONS = {"train_ablation": "train", "evaluate_ablation": "evaluate"}
"""Stage of the items of `train.ablations` → that of the others."""
CARRIERS = {
    "latentwire.assets": "wheels by hash: what is in them is in the digests that prepare writes",
    "latentwire.console": "bars and log lines",
    "latentwire.digests": "names files, decides no number",
    "latentwire.environment": "variables; numerics that they choose are kept with a run's state",
    "latentwire.errors": "sentences",
    "latentwire.exits": "exit codes",
    "latentwire.git": "names commits",
    "latentwire.image": "names the image",
    "latentwire.item": "names, and the parameters that stand in the identity themselves",
    "latentwire.local_inputs": "refuses what DVC would not watch; the bytes are in the digests that prepare writes",
    "latentwire.machine": "names the machine",
    "latentwire.output_files": "puts a file in place",
    "latentwire.loaded_kernels": "it refuses to compute, or does nothing",
    "latentwire.params": "the values are dependencies and stand in the identity themselves",
    "latentwire.passwords": "hides them in sentences",
    "latentwire.result_code": "this digest",
    "latentwire.stage_times": "how long it took",
    "latentwire.tracking": "MLflow is told, and tells nothing",
    "unbroken.canonical_json": "one text for one value; another text would be another identity",
    "unbroken.checkpoint": "keeps a state; every byte is checked",
    "unbroken.environment": "variables",
    "unbroken.errors": "sentences",
    "unbroken.launcher": "starts processes",
    "unbroken.preemption": "stops between two steps",
    "unbroken.processes": "moves bytes between processes",
    "unbroken.run": "keeps what a step computed",
    "unbroken.run_folder": "keeps what a step logged",
}
"""What counted code may import and is not counted itself, with the reason: it keeps, names, starts, shows or stops."""


def lies_in(module: str, rooms: Iterable[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def rooms_of(stage: str) -> tuple[str, ...]:
    return (*ROOMS, f"latentwire.stages.{stage}", f"latentwire.pipeline.{stage}")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Who imports whom at run time."""
    return grimp.build_graph("latentwire", "unbroken", exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("stage", RESULT_STAGES)
def test_the_code_of_a_stage_is_all_that_it_imports_of_what_defines_results(
    stage: str, imports: grimp.ImportGraph
) -> None:
    """Also what it imports through code that only carries: another reader of the imports finds the same modules."""
    module = f"latentwire.stages.{stage}"
    needed = {name for name in (module, *imports.find_upstream_modules(module)) if lies_in(name, rooms_of(stage))}
    packages = {name for name in result_code(stage) if imports.find_children(name)}
    assert set(result_code(stage)) - packages == needed - packages


@pytest.mark.parametrize("stage", RESULT_STAGES)
def test_whatever_does_not_count_is_known_to_carry(stage: str, imports: grimp.ImportGraph) -> None:
    """A new module that the science imports counts, or somebody says here why it does not."""
    code = result_code(stage)
    assert f"latentwire.stages.{stage}" in code
    imported = {name for module in code for name in imports.find_modules_directly_imported_by(module)}
    assert sorted(name for name in imported - set(code) if not lies_in(name, CARRIERS)) == []
    assert [module for module in code if lies_in(module, CARRIERS)] == []


def test_the_science_reads_no_file_of_its_own_but_templates() -> None:
    """Only Python files are in the digests; the templates are a dependency of their own."""
    folders = [ROOT / "src" / room.replace(".", "/") for room in (*ROOMS, "latentwire.pipeline", "latentwire.stages")]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    others = {path for path in files if path.suffix != ".py" and "__pycache__" not in path.parts}
    assert {path.parent.relative_to(ROOT).as_posix() for path in others} == {"src/latentwire/reporting/templates"}


def test_training_is_defined_by_the_loss_and_by_the_order_of_sums() -> None:
    code = result_code("train")
    for module in ("training.objective", "training.loop", "models.wire", "tasks.examples", "evaluation.scoring"):
        assert f"latentwire.{module}" in code
    assert {"unbroken.exact.fold", "unbroken.exact.randomness"} <= set(code)


@pytest.mark.parametrize("stage", RESULT_STAGES)
def test_code_comes_into_a_stage_through_its_digests_alone(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    assert f"{FOLDER}/{stage}.json" in deps
    templates = ["src/latentwire/reporting/templates"] if stage == "report" else []
    assert [dep for dep in deps if dep.startswith("src/")] == templates


def test_the_stage_code_reads_what_defines_results_and_nothing_that_carries() -> None:
    folders = [dep.removeprefix("src/").removesuffix(".py").replace("/", ".") for dep in STAGES["code"]["deps"]]
    own = {"latentwire.result_code", *(f"unbroken.run_folder.{name}_digest" for name in ("code", "syntax"))}
    assert set(folders) == {*ROOMS, "latentwire.stages", "latentwire.pipeline", *own}
    assert set(STAGES) == {"code", *RESULT_STAGES, *ABLATIONS}
    assert STAGES["code"]["outs"] == [f"{FOLDER}/{stage}.json" for stage in RESULT_STAGES]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_code_that_exists(stage: str) -> None:
    deps = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")]
    assert [path for path in deps if not path.exists()] == []


def test_stage_module_and_folder_have_one_name() -> None:
    for stage, fields in STAGES.items():
        assert f"latentwire.stages.{stage_kind(stage)}" in fields["cmd"]
        assert fields["cmd"].startswith("exec python -m ")
        for out in fields["outs"]:
            name = out if isinstance(out, str) else next(iter(out))
            assert name.startswith((f"results/{stage_kind(stage)}", "reports/"))


@pytest.mark.parametrize("stage", ABLATIONS)
def test_an_ablation_is_a_stage_like_the_others_but_for_its_matrix(stage: str) -> None:
    own, other = (dict(STAGES[name]) for name in (stage, ABLATIONS[stage]))
    assert own.pop("matrix") == {
        "method": "${train.ablations.methods}",
        "task": "${prepare.tasks}",
        "seed": "${train.ablations.seeds}",
    }
    assert other.pop("matrix") == {"method": "${train.methods}", "task": "${prepare.tasks}", "seed": "${train.seeds}"}
    assert own == other
    assert stage_kind(f"{stage}@wire_1-r8-0") == ABLATIONS[stage]


def test_no_stage_persists_its_outs() -> None:
    assert "persist" not in (ROOT / "dvc.yaml").read_text()


def test_seeds_and_checkpoint_interval_are_no_parameters_of_an_item() -> None:
    """Another seed list or interval must not retrain what is there."""
    for stage in ("train", "evaluate"):
        listed = STAGES[stage]["params"]
        assert not {"train", "train.seeds", "train.methods", "train.ablations", "train.checkpoint", "prepare"} & set(
            listed
        )


def test_the_digest_of_the_parameters_depends_on_what_aggregate_lists() -> None:
    """The report names one digest of all parameters of the results, so each of them has to run `aggregate` again."""
    sections = set(Params.model_fields) - {"report", "verify", "tracking", "train"}
    keys = {field.alias or name for name, field in Train.model_fields.items()} - {"checkpoint"}
    assert set(STAGES["aggregate"]["params"]) == sections | {f"train.{key}" for key in keys}
