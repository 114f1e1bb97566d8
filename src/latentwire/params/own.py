"""The `params.yaml` of an experiment with stages of its own: what the other stages read, and anything else beside it.

docs/adopt.md says which files such stages write. Sections that an experiment may fill as it likes take any key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from latentwire.params.section import (
    Distinct,
    Name,
    Positive,
    Section,
    Seed,
    check_chance,
    check_known,
    check_no_baseline,
    check_told_apart,
)
from latentwire.params.sections import Aggregate, CheckpointPolicy, Report, Runtime, Tracking, Verify

Module = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$")]


class OpenSection(Section):
    """A section with keys of the experiment's own, which are values of the section like the others."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class OwnStages(Section):
    """The programs of the stages, as modules: `python -m MODULE`. `aggregate` and `report` are as they are."""

    prepare: Module
    baseline: Module
    train: Module
    evaluate: Module


class OwnTask(OpenSection):
    """A task of classification."""

    labels: Annotated[Distinct[str], Field(min_length=2)]
    """What stands in the column `label`, in the order of the scores."""


class OwnMethod(OpenSection):
    """A trained method."""


class OwnPrepare(OpenSection):
    """Stage `prepare`."""

    tasks: Distinct[Name] = Field(min_length=1)


class OwnTrain(OpenSection):
    """Stage `train`."""

    methods: Distinct[Name] = Field(min_length=1)
    seeds: Distinct[Seed] = Field(min_length=1)
    steps: Positive
    mode: Literal["exact", "throughput"]
    """`exact`: whoever trains it again gets the same bytes. `throughput`: sums depend on how many processes share a
    step; results say so."""
    checkpoint: CheckpointPolicy

    @property
    def own_seeds(self) -> tuple[int, ...]:
        """All of them: a control on permuted labels is a method here."""
        return self.seeds

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method that is trained: an ablation is one like the others here."""
        return self.methods

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Seeds of the trainings of a method."""
        return self.seeds if method in self.methods else ()


class OwnBaseline(OpenSection):
    """Stage `baseline`."""

    methods: Distinct[Name]
    """What has no seed."""


class OwnEvaluate(OpenSection):
    """Stage `evaluate`."""


class OwnAggregate(Aggregate):
    """Stage `aggregate`."""

    reference: Name  # type: ignore[assignment]
    """Baseline or trained method that differences are taken from."""


class OwnReport(Report):
    """Stage `report`."""

    method: str = ""
    """What was done, in a few sentences: the report prints them."""


def described_method(report: Report) -> str:
    """What the owner of the stages says of them; nothing of ours, which the report knows."""
    return report.method if isinstance(report, OwnReport) else ""


class OwnParams(Section):
    """The whole of `params.yaml`."""

    stages: OwnStages
    tasks: dict[Name, OwnTask]
    methods: dict[Name, OwnMethod]
    runtime: Runtime
    prepare: OwnPrepare
    train: OwnTrain
    baseline: OwnBaseline
    evaluate: OwnEvaluate = Field(default_factory=OwnEvaluate)
    aggregate: OwnAggregate
    report: OwnReport
    verify: Verify
    tracking: Tracking

    @model_validator(mode="after")
    def _names_exist(self) -> OwnParams:
        contenders = (*self.baseline.methods, *self.train.methods)
        check_known("prepare.tasks", self.prepare.tasks, self.tasks)
        check_known("train.methods", self.train.methods, self.methods)
        check_chance(self.baseline.methods)
        check_known("aggregate.reference", [self.aggregate.reference], contenders)
        check_known("aggregate.metrics", list(self.aggregate.metrics), self.tasks)
        check_no_baseline("train.methods", self.train.methods, self.baseline.methods)
        names = self.report.names
        for keys in (self.tasks, names.keys() - self.tasks.keys()):
            check_told_apart({key: names.get(key, key) for key in keys})
        return self
