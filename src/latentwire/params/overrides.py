"""Parameters of which some are others: those of an experiment, and those of a profile in `profiles/`."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentwire.errors import ConfigurationError
from latentwire.params.load import CHECK, parse_any_params, read_parameters
from latentwire.yaml_files import read_yaml

Overrides = dict[str, Any]
"""Dotted key of params.yaml → value."""
PROFILES = Path("profiles")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def replace_values(values: Mapping[str, Any], overrides: Overrides, where: str, new: bool = False) -> dict[str, Any]:
    """A copy of the values of params.yaml with some of them replaced.

    Args:
        values: What the file holds.
        overrides: By their keys; a mapping is replaced as a whole.
        where: What sets them, for messages.
        new: Whether a section may get a further key, such as a method of its own; who parses them refuses unknown ones.

    Raises:
        ConfigurationError: params.yaml has no such key.
    """
    changed = copy.deepcopy(dict(values))
    for key, value in overrides.items():
        *parents, last = key.split(".")
        section = _find_value(changed, parents)
        if not isinstance(section, dict) or (last not in section and not (new and parents)):
            raise ConfigurationError(
                f"{where} sets {key}, which params.yaml does not have; expected one of its keys. "
                "Next: `latentwire params` lists them."
            )
        section[last] = value
    return changed


def _find_value(values: Any, keys: Sequence[str]) -> Any:
    """What stands below keys that follow each other; None where there is nothing."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def list_profiles(root: Path) -> list[str]:
    """The names of the profiles of a repository."""
    return sorted(path.stem for path in (root / PROFILES).glob("*.yaml"))


def read_profile(parameters: Path, name: str) -> dict[str, Any]:
    """What a parameter file holds with a profile of its repository, checked.

    Args:
        parameters: The file; profiles are in the folder `profiles` beside it.
        name: The profile's, without `.yaml`.

    Raises:
        ConfigurationError: There is no such profile, it is no mapping of keys to values, or a key or value is wrong.
    """
    root = parameters.parent
    path, where = root / PROFILES / f"{name}.yaml", f"{PROFILES}/{name}.yaml"
    if not _NAME.fullmatch(name) or not path.is_file():
        listed = ", ".join(list_profiles(root)) or "none"
        raise ConfigurationError(
            f"No profile {name!r} in {(root / PROFILES).resolve()}, expected one of those there: {listed}. "
            f"Next: name one of them, or write {PROFILES}/NAME.yaml (docs/profiles.md)."
        )
    overrides = read_yaml(path)
    if not isinstance(overrides, dict) or not all(isinstance(key, str) for key in overrides):
        found = "is empty" if overrides is None else f"holds {type(overrides).__name__}"
        raise ConfigurationError(
            f"{where} {found}, expected dotted keys of params.yaml with values. Next: docs/profiles.md shows one."
        )
    former = read_parameters(parameters)
    values = replace_values(former, overrides, where, new=True)
    _check_values(values, where, f"{CHECK} --profile {name}", former, overrides)
    return values


def _check_values(values: Any, where: str, check: str, former: Any, overrides: Overrides) -> None:
    try:
        parse_any_params(values, where, check)
    except ConfigurationError as error:
        said = "; ".join(_explain_parts(former, overrides, str(error)))
        raise ConfigurationError(f"{where}: {said}. Next: mend it, then `{check}`.") if said else error from None


def _explain_parts(former: Any, overrides: Overrides, said: str) -> Iterator[str]:
    """A sentence for each section that an override replaces by a part of it, where that is what was refused."""
    for key, value in overrides.items():
        whole = _find_value(former, key.split("."))
        if not (isinstance(whole, dict) and isinstance(value, dict)):
            continue
        lost = [name for name in whole if name not in value]
        if any(f"`{key}.{name}` is missing" in said for name in lost):
            meant = ", ".join(f"`{key}.{name}: {json.dumps(part, default=str)}`" for name, part in value.items())
            how = f"expected {meant or 'dotted keys'}, so that the others stay"
            yield f"`{key}` replaces the section as a whole, without {', '.join(lost)}; {how}"
