"""What every section of `params.yaml` is made of: frozen, no unknown key, and the types that several have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(strict=True)]
"""A number as YAML writes one: DVC names items by what stands there, so `1.0`, `"1"` and `true` are no seed 1."""
SMALLEST, LARGEST = 2.0**-126, 2.0**128


def _check_single(value: float) -> float:
    if value != 0 and not SMALLEST <= abs(value) < LARGEST:
        raise ValueError(
            f"expected 0 or a number that single precision holds, from {SMALLEST:.2g} to below {LARGEST:.2g} without "
            f"its sign, found {value}"
        )
    return value


Real = Annotated[float, Field(strict=True), AfterValidator(_check_single)]
"""What a model computes with: as infinity or 0 it would be another value than the one that stands there."""
Positive = Annotated[Whole, Field(gt=0, lt=2**31)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]
"""What fits the columns of 64 bits in which results are stored."""
Fraction = Annotated[Real, Field(ge=0.0, lt=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Place = Annotated[str, Field(min_length=1)]
"""A path or the name of a package; without one the folder of the repository itself would be meant."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]
"""Three of them are the name of a folder."""
CHANCE = "majority"
"""The baseline that answers with the most frequent label."""
T = TypeVar("T")


def _check_distinct(names: tuple[T, ...]) -> tuple[T, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} stands there more than once; expected each once")
    return names


Distinct = Annotated[tuple[T, ...], AfterValidator(_check_distinct)]
"""A list in which each name stands once: a second one would train, score or count the same again."""


class Section(BaseModel):
    """A frozen section of `params.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def check_known(where: str, names: Sequence[str], valid: Any) -> None:
    """Refuse a name that is not among the keys of another section."""
    for name in names:
        if name not in valid:
            raise ValueError(f"{where} names {name!r}, which is not among {', '.join(valid)}")


def check_no_baseline(where: str, names: Sequence[str], baselines: Sequence[str]) -> None:
    """Methods and baselines stand in the same tables under their names."""
    for name in names:
        if name in baselines:
            raise ValueError(f"{where} names {name!r}, which is a baseline; expected none of {', '.join(baselines)}")


def check_chance(baselines: Sequence[str]) -> None:
    """Every method is compared with chance, for which the most frequent label stands."""
    if CHANCE not in baselines:
        raise ValueError(
            f"baseline.methods are {', '.join(baselines)}; expected {CHANCE} among them, as every method is compared "
            "with chance"
        )


def check_told_apart(names: Mapping[str, str]) -> None:
    """Two models, tasks or methods of one printed name would be rows that nobody can tell apart."""
    for name in names.values():
        keys = sorted(key for key, other in names.items() if other == name)
        if len(keys) > 1:
            raise ValueError(f"report.names has {name!r} for {' and '.join(keys)}; expected another name for each")
