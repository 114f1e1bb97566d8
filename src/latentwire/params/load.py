"""`params.yaml` as frozen, typed values; unknown keys are refused together with the list of valid ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from latentwire.errors import ConfigurationError
from latentwire.params.formats import CsvFormat, JsonlFormat, OrangeFormat, ParquetFormat, TsvFormat
from latentwire.params.methods import LoraMethod, Method, PromptTuningMethod, WireMethod
from latentwire.params.own import OwnParams
from latentwire.params.section import Name, Section, check_chance, check_known, check_no_baseline, check_told_apart
from latentwire.params.sections import (
    BASELINES,
    Aggregate,
    Baseline,
    Encode,
    Evaluate,
    Prepare,
    Report,
    Runtime,
    Task,
    Tracking,
    Train,
    Verify,
)
from latentwire.params.sources import (
    HubFiles,
    HubModel,
    LocalFiles,
    LocalModel,
    ModelSource,
    PackagedFiles,
    PackagedModel,
)
from latentwire.yaml_files import read_yaml

T = TypeVar("T", str, int)
S = TypeVar("S", bound=Section)
OWN = "stages"
"""The section by which an experiment says that its stages are its own."""
CHECK = "latentwire params"
"""The command that checks params.yaml."""

_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")

_SOURCES = (PackagedModel, LocalModel, HubModel, PackagedFiles, LocalFiles, HubFiles)
_FORMATS = (CsvFormat, TsvFormat, OrangeFormat, JsonlFormat, ParquetFormat)
_METHODS = (WireMethod, PromptTuningMethod, LoraMethod)
_TAGGED: dict[Any, type[Section]] = {kind.__name__: kind for kind in (*_SOURCES, *_FORMATS, *_METHODS)}


class Params(Section):
    """The whole of `params.yaml`."""

    models: dict[Name, ModelSource]
    tasks: dict[Name, Task]
    methods: dict[Name, Method]
    runtime: Runtime
    prepare: Prepare
    encode: Encode
    train: Train
    baseline: Baseline
    evaluate: Evaluate
    aggregate: Aggregate
    report: Report
    verify: Verify
    tracking: Tracking

    @model_validator(mode="after")
    def _names_exist(self) -> Params:
        check_known("prepare.tasks", self.prepare.tasks, self.tasks)
        check_known("train.methods", self.train.methods, self.methods)
        check_known("train.ablations.methods", self.train.ablations.methods, self.methods)
        check_known("baseline.budget_of", [self.baseline.budget_of], self.methods)
        check_known("encode.sender", [self.encode.sender], self.models)
        check_chance(self.baseline.methods)
        check_known("aggregate.reference", [self.aggregate.reference], self.baseline.methods)
        check_known("aggregate.metrics", list(self.aggregate.metrics), self.tasks)
        check_no_baseline("train.methods", self.train.methods, BASELINES)
        check_no_baseline("train.ablations.methods", self.train.ablations.methods, BASELINES)
        _ = self.cut_tokens
        for name, method in self.methods.items():
            check_known(f"methods.{name}.receivers", method.receivers, self.models)
        return self

    @model_validator(mode="after")
    def _methods_can_be_compared(self) -> Params:
        first = self.train.methods[0]
        for name in self.train.ablations.methods:
            if not set(self.methods[name].receivers) & set(self.methods[first].receivers):
                raise ValueError(
                    f"train.ablations.methods names {name!r}, which shares no receiver with {first!r}, that it is "
                    f"compared with; expected one of {', '.join(self.methods[first].receivers)} among its receivers"
                )
        for name in self.train.all_methods if self.train.losses.collapse else ():
            if self.methods[name].sent_vectors is None:
                raise ValueError(
                    f"train.losses.collapse is {self.train.losses.collapse:g}, a loss on vectors, and {name!r} sends "
                    "none; expected 0, or methods that send vectors alone"
                )
        return self

    @model_validator(mode="after")
    def _rows_are_told_apart(self) -> Params:
        names, others = self.report.names, self.report.names.keys() - self.models.keys() - self.tasks.keys()
        for keys in (self.models, self.tasks, others):
            check_told_apart({key: names.get(key, key) for key in keys})
        return self

    @property
    def cut_tokens(self) -> int:
        """Tokens of a text that the baseline `truncated` reads: as many as a wire has slots.

        Raises:
            ValueError: The method that `baseline.budget_of` names sends no vectors.
        """
        named = self.baseline.budget_of
        count = self.methods[named].sent_vectors
        if count is None:
            raise ValueError(f"baseline.budget_of names {named!r}, which sends no vectors; expected a method that does")
        return count

    @property
    def receivers(self) -> tuple[str, ...]:
        """Every receiver of a method that is trained, in the order of first mention."""
        return tuple(dict.fromkeys(r for m in self.train.all_methods for r in self.methods[m].receivers))

    def precisions_of(self, method: str) -> tuple[str, ...]:
        """The precisions below float16 at which what a method sends is read, too; none where it sends no vectors."""
        return () if self.methods[method].sent_vectors is None else self.evaluate.precisions

    def frozen_models(self) -> tuple[str, ...]:
        """Every model that the pipeline loads: the sender and the receivers."""
        return tuple(dict.fromkeys((self.encode.sender, *self.receivers)))


AnyParams = Params | OwnParams
"""Of texts, wires and receivers, or with stages of its own."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check the parameter file of the experiment of texts, wires and receivers.

    Raises:
        ConfigurationError: The file is missing or is not YAML, a key is unknown or stands twice, a value is wrong, or
            it is that of an experiment with stages of its own.
    """
    values = load_any_params(path)
    if isinstance(values, Params):
        return values
    raise ConfigurationError(
        f"{path} names `stages` of its own, and what was asked for is of texts, wires and receivers alone; expected a "
        "params.yaml without them. Next: docs/adopt.md says what such an experiment has in its place."
    )


def load_any_params(path: Path | str = "params.yaml") -> AnyParams:
    """Read and check a parameter file; one that names `stages` is that of an experiment with stages of its own.

    Raises:
        ConfigurationError: The file is missing or is not YAML, a key is unknown or stands twice, or a value is wrong.
    """
    return parse_any_params(read_parameters(Path(path)), str(path))


def read_parameters(path: Path) -> Any:
    """The values of a parameter file, not checked.

    Raises:
        ConfigurationError: The file is missing or is not YAML, or a key stands twice.
    """
    check_is_there(path)
    return read_yaml(path)


def check_is_there(path: Path) -> None:
    """Check that a command runs where the parameters are: in a subfolder all other files would be missing, too.

    Raises:
        ConfigurationError: They are not.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"No {path.name} in {path.parent.resolve()}; expected the parameters of the pipeline there. "
            "Next: run the command from the root of the repository."
        )


def parse_any_params(values: Any, where: str, check: str = CHECK) -> AnyParams:
    """Check parsed YAML, also that of an experiment with stages of its own.

    Args:
        values: What the file holds.
        where: Its name in messages.
        check: The command that checks the file again, for messages.

    Raises:
        ConfigurationError: A key is unknown or a value is wrong.
    """
    is_own = isinstance(values, Mapping) and OWN in values
    return _parse(OwnParams, values, where, check) if is_own else _parse(Params, values, where, check)


def parse_params(values: Any, where: str) -> Params:
    """Check parsed YAML; `where` names the file in messages.

    Raises:
        ConfigurationError: A key is unknown or a value is wrong.
    """
    return _parse(Params, values, where)


def _parse(section: type[S], values: Any, where: str, check: str = CHECK) -> S:
    try:
        _check_texts(values)
        return section.model_validate(values)
    except ValidationError as error:
        causes = [dict(e) for e in error.errors(include_url=False) if _is_cause(e)]
        sentences = "; ".join(dict.fromkeys(_sentence(cause, section) for cause in causes))
    except ValueError as error:
        sentences = str(error)
    raise ConfigurationError(f"{where}: {sentences}. Next: mend it, then `{check}`.")


def check_choice(option: str, value: T, valid: Iterable[T]) -> T:
    """Return the value of a command-line option if params.yaml has it.

    Raises:
        ConfigurationError: It is not; the message lists the valid ones.
    """
    valid = list(valid)
    if value not in valid:
        listed = ", ".join(map(str, valid))
        raise ConfigurationError(
            f"{option} {value!r} is not in params.yaml; expected one of {listed}. "
            "Next: `dvc stage list` shows every item."
        )
    return value


def _check_texts(values: Any) -> None:
    """Refuse what YAML can write and no file or tokenizer takes: half of a pair of surrogates, or a NUL."""
    for key, text in _list_texts(values, "", set()):
        found = _NO_CHARACTER.search(text)
        if found:
            raise ValueError(f"`{key}`: U+{ord(found[0]):04X} is no character of a text, found {text!r}")


def _list_texts(values: Any, key: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Every text with its key; what an alias names is looked at once, also within itself."""
    if isinstance(values, str):
        yield key, values
    elif isinstance(values, Mapping | list) and id(values) not in seen:
        seen.add(id(values))
        pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
        for name, value in pairs:
            yield from _list_texts(name, f"{key} (a key)", seen)
            yield from _list_texts(value, f"{key}.{name}".removeprefix("."), seen)


def _is_cause(error: Mapping[str, Any]) -> bool:
    """Whether it is no consequence of another one: a list of wrong entries counts as one without entries."""
    return error["type"] != "too_short" or not error["input"]


def _sentence(error: Mapping[str, Any], whole: type[Section]) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location if part not in _TAGGED)
    if error["type"] == "extra_forbidden":
        valid = sorted(_fields(_section_around(location, whole)))
        guess = difflib.get_close_matches(str(location[-1]), valid, n=1)
        hint = f" (did you mean `{guess[0]}`?)" if guess else ""
        return f"unknown key `{key}`{hint}; expected one of {', '.join(valid) or 'none'}"
    if error["type"] == "missing":
        kind = _fields(_section_around(location, whole)).get(str(location[-1]))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return f"`{key}` is missing, expected a section with {', '.join(_fields(kind))}"
        return f"`{key}` is missing"
    value = "" if error["type"] == "value_error" else f", found {error.get('input')!r}"
    # What is wrong between two sections names both keys itself.
    return f"{f'`{key}`: ' if key else ''}{str(error['msg']).removeprefix('Value error, ')}{value}"


def _section_around(location: Sequence[Any], whole: type[Section]) -> type[BaseModel]:
    """The section of the last part of a location; entries of named groups lead to theirs."""
    section: type[BaseModel] = whole
    for part in location[:-1]:
        inner = _TAGGED.get(part) or _section_of(_fields(section).get(str(part)))
        section = inner or section
    return section


def _fields(section: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_section_of(argument) for argument in getattr(annotation, "__args__", ())]
    return next((section for section in inner if section is not None), None)
