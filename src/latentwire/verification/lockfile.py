"""`dvc.lock`: what every stage read and wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.lock_copy import LOCK
from latentwire.yaml_files import parse_yaml


def say_how_to_get(root: Path) -> str:
    """What to do where a result is missing: a clone has no DVC remote, unless whoever published it committed one."""
    configured = (root / ".dvc" / name for name in ("config", "config.local"))
    if any("remote " in path.read_text(encoding="utf-8", errors="replace") for path in configured if path.is_file()):
        return "Next: `dvc pull`"
    return "Next: `make repro`; or `dvc pull`, after `dvc remote add -d NAME URL` of whoever has published the results"


class UnverifiableError(LatentWireError):
    """There is nothing to compare with; exits with 4."""

    exit_code = 4


@dataclass(frozen=True)
class LockedStage:
    """One stage of `dvc.lock`; digests by path, parameters by their dotted key."""

    name: str
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    params: Mapping[str, Any]


Lock = Mapping[str, LockedStage]


def read_lock(root: Path) -> Lock:
    """The `dvc.lock` of a repository; empty where there is none.

    Raises:
        UnverifiableError: It is not a lock file of DVC.
    """
    path = root / LOCK
    return parse_lock(path.read_bytes(), LOCK) if path.is_file() else {}


def parse_lock(text: bytes, where: str) -> Lock:
    """Read a lock file; `where` names it in messages.

    Raises:
        UnverifiableError: It is not a lock file of DVC.
    """
    try:
        values = parse_yaml(text, where)
        return {name: _stage(name, fields) for name, fields in values["stages"].items()}
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise UnverifiableError(
            f"{where} cannot be read ({type(error).__name__}: {said}); expected a dvc.lock with its stages. "
            "Next: take the one that was published, or `dvc repro`."
        ) from error


def output_digests(lock: Lock) -> dict[str, str]:
    """Path → digest of everything that the stages wrote."""
    return {path: digest for stage in lock.values() for path, digest in stage.outs.items()}


def find_parameter(values: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key of parsed `params.yaml`; None where there is none."""
    value: Any = values
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _stage(name: str, fields: Mapping[str, Any]) -> LockedStage:
    params = {key: value for file in fields.get("params", {}).values() for key, value in file.items()}
    return LockedStage(name, _digests(fields.get("deps", ())), _digests(fields.get("outs", ())), params)


def _digests(entries: Any) -> dict[str, str]:
    return {str(entry["path"]): str(entry["md5"]) for entry in entries}
