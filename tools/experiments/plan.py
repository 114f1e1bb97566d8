"""`experiments/experiments.yaml` as typed values: what is tried, as other values of keys of params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.params.load import Params, parse_params
from latentwire.params.overrides import Overrides, replace_values
from latentwire.params.section import Distinct, Name, Section, Seed
from latentwire.yaml_files import read_yaml

PLAN = Path("experiments/experiments.yaml")
DEFAULT = "default"
TRIED = ("encode.", "methods.", "train.")
"""Sections that an experiment may change; what tasks and splits are decides what its numbers mean."""
NOT_TRIED = ("train.methods", "train.seeds", "train.validate")

ExperimentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)]


class Experiment(Section):
    """One thing that is tried."""

    asks: Annotated[str, Field(pattern=r"^[A-Z].*[.?]$")]
    """A sentence: what is to be found out."""
    set: Overrides
    tasks: Distinct[Name] | None = None
    """Those of the plan where none are named."""
    seeds: Distinct[Seed] | None = None

    @model_validator(mode="after")
    def _changes_what_may_change(self) -> Experiment:
        for key in self.set:
            if not key.startswith(TRIED) or key.startswith(NOT_TRIED):
                raise ValueError(
                    f"set names {key}, expected a key of {', '.join(part[:-1] for part in TRIED)} and none of "
                    f"{', '.join(NOT_TRIED)}"
                )
        return self


class Plan(Section):
    """The whole file."""

    base: Overrides
    """What is the same in every experiment and not in params.yaml: how much is validated, and when."""
    method: Name
    tasks: Distinct[Name]
    seeds: Distinct[Seed]
    experiments: dict[ExperimentName, Experiment]

    @model_validator(mode="after")
    def _has_a_default(self) -> Plan:
        if DEFAULT not in self.experiments or self.experiments[DEFAULT].set:
            raise ValueError(f"experiments must have one called {DEFAULT} that sets nothing, which others differ from")
        return self

    def trials(self) -> list[Trial]:
        """Every training, experiment by experiment."""
        return [
            Trial(name, self.method, task, seed, {**self.base, **experiment.set})
            for name, experiment in self.experiments.items()
            for task in experiment.tasks or self.tasks
            for seed in experiment.seeds or self.seeds
        ]


@dataclass(frozen=True)
class Trial:
    """One training of an experiment."""

    experiment: str
    method: str
    task: str
    seed: int
    overrides: Overrides

    @property
    def name(self) -> str:
        """Name of its stored result, and of its experiment in DVC."""
        return f"{self.experiment}-{self.task}-{self.seed}"

    @property
    def item(self) -> TrainItem:
        """What DVC trains for it."""
        return TrainItem(self.method, self.task, self.seed)


def read_plan(root: Path) -> Plan:
    """The plan of the repository at `root`, with every experiment checked against its params.yaml.

    Raises:
        ConfigurationError: A key is unknown, a value is wrong, or a task or seed is not in params.yaml.
    """
    values = read_yaml(root / PLAN)
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        causes = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise ConfigurationError(f"{PLAN}: {causes}. Next: mend it there.") from None
    params = read_yaml(root / "params.yaml")
    for trial in plan.trials():
        where = f"{PLAN}, experiment {trial.experiment}"
        TrainItem.of(params_with(params, trial.overrides, where), trial.method, trial.task, trial.seed)
    return plan


def params_with(values: Mapping[str, Any], overrides: Overrides, where: str) -> Params:
    """Parameters with some of their values replaced.

    Raises:
        ConfigurationError: params.yaml has no such key, or the value does not fit.
    """
    return parse_params(replace_values(values, overrides, where), where)
