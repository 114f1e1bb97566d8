"""docs/models.md: its models, receivers and methods are added by parameters alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.cli import app
from latentwire.item import TrainItem
from latentwire.params.load import Params, parse_params
from latentwire.params.sources import HubModel
from latentwire.statistics.grid import expected_grid

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/models.md").read_text(encoding="utf-8")
RECEIVER, METHOD, KINDS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def merged(block: str) -> Params:
    """params.yaml with a block of the page in it; of a mapping that is there already, the named keys change."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, entries in yaml.safe_load(block).items():
        for key, value in entries.items():
            known = values[section].get(key)
            values[section][key] = {**known, **value} if isinstance(known, dict) else value
    return parse_params(values, "docs/models.md")


def test_a_model_of_a_hub_is_a_receiver() -> None:
    values = merged(RECEIVER)
    assert isinstance(values.models["other"], HubModel)
    assert "other" in values.receivers


def test_a_second_method_is_trained_for_every_task_and_seed() -> None:
    values = merged(METHOD)
    names = [item.name for item in TrainItem.all(values)]
    assert "wide-r8-0" in names
    ablations = len(values.train.ablations.methods) * len(values.train.ablations.seeds)
    assert len(names) == len(values.prepare.tasks) * (2 * len(values.train.seeds) + ablations)


def test_methods_of_other_kinds_are_trained_beside_the_wire() -> None:
    values = merged(KINDS)
    assert {method.kind for method in values.methods.values()} == {"wire", "prompt_tuning", "lora"}
    grid = expected_grid(values)
    assert [method.name for method in grid.main_methods()] == ["wire", "tuned", "lora"]
    assert {"wire-noise", "wire-probe", "lora-shuffled", "tuned-permuted"} <= grid.methods.keys()
    assert not {"lora-noise", "lora-probe", "tuned-noise", "tuned-probe"} & grid.methods.keys()


@pytest.mark.parametrize("page", ["models.md", "tasks.md"])
def test_the_hubs_program_is_installed_under_the_name_that_a_page_gives(page: str) -> None:
    (named,) = set(re.findall(r"`([\w-]+) download ", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert (Path(sys.executable).parent / named).is_file()


def test_commands_of_the_page_are_there() -> None:
    named = set(re.findall(r"`latentwire (\w+)", PAGE))
    assert named == {"estimate", "verify", "archive"}
    assert named <= {command.name for command in app.registered_commands}
