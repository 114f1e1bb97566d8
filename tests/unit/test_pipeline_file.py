"""dvc.yaml says what the stages really read: the code that they import and the parameters that they use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from latentwire.params.load import Params
from latentwire.params.sections import Train

ROOT = Path(__file__).parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What only shows, checks, times, keeps or stops what a stage does: a change of it makes no finished result wrong.
CARRIES = (
    "latentwire.console",
    "latentwire.digests",
    "latentwire.environment",
    "latentwire.errors",
    "latentwire.exits",
    "latentwire.git",
    "latentwire.image",
    "latentwire.item",
    "latentwire.machine",
    "latentwire.params",
    "latentwire.tracking",
    "unbroken.errors",
    "unbroken.preemption",
)


def is_no_result(module: str) -> bool:
    return module in ("latentwire", "unbroken", "latentwire.stages", "latentwire.pipeline") or any(
        module == room or module.startswith(f"{room}.") for room in CARRIES
    )


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Who imports whom at run time, without what no result depends on."""
    graph = grimp.build_graph("latentwire", "unbroken", exclude_type_checking_imports=True, cache_dir=None)
    for module in filter(is_no_result, sorted(graph.modules)):
        for imported in graph.find_modules_directly_imported_by(module):
            graph.remove_import(importer=module, imported=imported)
    return graph


def covered(stage: str) -> list[Path]:
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")]


def file_of(module: str) -> Path:
    path = ROOT / "src" / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports(stage: str, imports: grimp.ImportGraph) -> None:
    module = f"latentwire.stages.{stage}"
    needed = {module, *imports.find_upstream_modules(module)}
    folders = covered(stage)
    results = [m for m in sorted(needed) if not is_no_result(m)]
    missing = [m for m in results if not any(file_of(m).is_relative_to(folder) for folder in folders)]
    assert missing == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_code_that_exists(stage: str) -> None:
    assert [path for path in covered(stage) if not path.exists()] == []


def test_stage_module_and_folder_have_one_name() -> None:
    for stage, fields in STAGES.items():
        assert f"latentwire.stages.{stage}" in fields["cmd"]
        assert fields["cmd"].startswith("exec python -m ")
        for out in fields["outs"]:
            name = out if isinstance(out, str) else next(iter(out))
            assert name.startswith((f"results/{stage}", "reports/"))


def test_a_stage_is_a_process_for_the_module_of_its_name(imports: grimp.ImportGraph) -> None:
    for stage in STAGES:
        called = imports.find_modules_directly_imported_by(f"latentwire.stages.{stage}")
        assert {name for name in called if name.startswith("latentwire.pipeline")} == {f"latentwire.pipeline.{stage}"}


def test_no_stage_persists_its_outs() -> None:
    assert "persist" not in (ROOT / "dvc.yaml").read_text()


def test_seeds_and_checkpoint_interval_are_no_parameters_of_an_item() -> None:
    """Another seed list or interval must not retrain what is there."""
    for stage in ("train", "evaluate"):
        listed = STAGES[stage]["params"]
        assert not {"train", "train.seeds", "train.methods", "train.checkpoint", "prepare"} & set(listed)


def test_the_digest_of_the_parameters_depends_on_what_aggregate_lists() -> None:
    """The report names one digest of all parameters of the results, so each of them has to run `aggregate` again."""
    sections = set(Params.model_fields) - {"report", "verify", "tracking", "train"}
    keys = {field.alias or name for name, field in Train.model_fields.items()} - {"checkpoint"}
    assert set(STAGES["aggregate"]["params"]) == sections | {f"train.{key}" for key in keys}
