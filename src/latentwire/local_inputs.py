"""Files of this machine that `prepare` reads: as params.yaml names them, and as dvc.yaml lists them for DVC to hash.

DVC cannot make a list of dependencies from parameters, so `python -m latentwire.dvc_files` writes it, and `prepare`
refuses a file that is not in it: a change of that file would run nothing again.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from latentwire.errors import ConfigurationError
from latentwire.output_files import write_text_file
from latentwire.params.load import AnyParams, Params
from latentwire.params.sources import LocalFiles, LocalModel
from latentwire.yaml_files import read_yaml

PIPELINE = Path("dvc.yaml")
STAGE = "prepare"
ALWAYS = (f"results/code/{STAGE}.json", "assets.lock")
"""What `prepare` reads whatever the parameters are."""


def list_local_inputs(values: AnyParams, root: Path) -> list[str]:
    """Local data files and models of the tasks and models in use, each once, as DVC names a dependency.

    A path inside `root` is relative to it; another one is absolute if params.yaml or a link in it says so.
    """
    return list(dict.fromkeys(_dependency(path, root) for path, _ in _named_paths(values)))


def check_local_inputs(values: AnyParams, root: Path = Path()) -> None:
    """Refuse local files that DVC does not watch; without a dvc.yaml nobody does, and nothing is refused.

    Raises:
        ConfigurationError: dvc.yaml does not list one of them.
    """
    if not (root / PIPELINE).is_file():
        return
    listed = _list_dependencies(read_yaml(root / PIPELINE))
    missing = [path for path in list_local_inputs(values, root) if path not in listed]
    if missing:
        raise ConfigurationError(
            f"{PIPELINE} does not list {', '.join(missing)} in the deps of {STAGE}; expected every local file that "
            f"params.yaml names there, or DVC would not see that it changes. Next: `python -m latentwire.dvc_files` "
            f"lists them; commit {PIPELINE} with params.yaml, and start again."
        )


def write_local_inputs(values: AnyParams, root: Path) -> list[str]:
    """Make the deps of `prepare` in dvc.yaml those of the parameters; return a sentence if that changed them.

    An experiment with stages of its own says itself in dvc.yaml what they read.

    Raises:
        ConfigurationError: A file is not there, is a folder that holds the repository, or dvc.yaml has no `prepare`.
    """
    if not isinstance(values, Params):
        return []
    check_local_paths(values, root)
    wanted = [*ALWAYS, *(path.replace("${", r"\${") for path in list_local_inputs(values, root))]
    before = _find_deps(read_yaml(root / PIPELINE))
    added, removed = ([x for x in a if x not in b] for a, b in ((wanted, before), (before, wanted)))
    if not (added or removed):
        return []
    _rewrite_deps(root / PIPELINE, added, removed)
    changes = [*(f"now has {path}" for path in added), *(f"no longer has {path}" for path in removed)]
    return [f"{PIPELINE}, deps of {STAGE}: {', '.join(changes)}, as params.yaml says. Commit it with params.yaml."]


def check_local_paths(values: AnyParams, root: Path) -> None:
    """Look whether the local files of the parameters are there.

    Raises:
        ConfigurationError: One is not, or it is a folder that holds the repository.
    """
    for path, key in _named_paths(values):
        there = root / path
        if not (there.exists() if key.startswith("models.") else there.is_file()):
            raise ConfigurationError(
                f"No {path}, which {key} in params.yaml names; expected it on this machine. "
                f"Next: put it there, or correct {key}."
            )
        if root.resolve().is_relative_to(there.resolve()):
            raise ConfigurationError(
                f"{key} in params.yaml names {path}, which holds this repository; expected a folder with one model and "
                "nothing else, since all that is in it is hashed. Next: move the model into a folder of its own."
            )


def _rewrite_deps(path: Path, added: list[str], removed: list[str]) -> None:
    """Change the list and nothing else: comments and layout stay."""
    text, written = YAML(), io.StringIO()
    text.width, text.preserve_quotes = 1_000_000, True
    text.indent(mapping=2, sequence=4, offset=2)
    content = text.load(path.read_text(encoding="utf-8-sig"))
    deps = _find_deps(content)
    for name in removed:
        deps.remove(name)
    deps.extend(added)
    text.dump(content, written)
    write_text_file(path, written.getvalue())


def _named_paths(values: AnyParams) -> Iterator[tuple[Path, str]]:
    """Each path as written, relative to the repository, with the key that names it."""
    if not isinstance(values, Params):
        return
    for task in values.prepare.tasks:
        source = values.tasks[task].source
        if isinstance(source, LocalFiles):
            names = [name for name in (source.train, source.test) if name is not None]
            key = f"tasks.{task}.source"
            yield from ((_expand_home(source.local, key) / name, key) for name in names)
    for model in values.frozen_models():
        spec = values.models[model]
        if isinstance(spec, LocalModel):
            yield _expand_home(spec.local, f"models.{model}.local"), f"models.{model}.local"


def _expand_home(name: str, key: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"{key} in params.yaml names {name}, and nobody of that name has a home folder here; expected a path of "
            f"this machine. Next: correct {key}, or write ./{name}."
        ) from None


def _dependency(path: Path, root: Path) -> str:
    top = os.path.realpath(root)
    # Through a link, `..` leads elsewhere than the name says.
    whole = os.path.realpath(root / path) if ".." in path.parts else os.path.join(top, path)
    name = os.path.relpath(whole, top)
    if name.split("/")[0] == ".." and path.is_absolute():
        name = os.path.normpath(whole)
    return f"./{name}" if ":" in name.partition("/")[0] else name  # a colon would make it a URL


def _list_dependencies(content: Any) -> set[str]:
    return {str(entry).replace(r"\${", "${") for entry in _find_deps(content)}


def _find_deps(content: Any) -> Any:
    try:
        return content["stages"][STAGE]["deps"]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{PIPELINE} has no stage {STAGE} with deps; expected it as the repository has it. "
            f"Next: `git checkout {PIPELINE}`."
        ) from None
